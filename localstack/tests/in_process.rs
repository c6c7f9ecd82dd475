//! The stack inside a test: what a caller of the library relies on. The API itself is tested from outside, with AWS's
//! own clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat_localstack::{Options, Stack, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(directory: &Path) -> Stack {
    Stack::start(Options { data: Some(directory.to_owned()), ..Options::default() }).await.unwrap()
}

/// Sends one request and returns the whole answer.
async fn send(stack: &Stack, method: &str, path: &str, body: &str) -> String {
    let endpoint = stack.endpoint();
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("http://")).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=test/20261121/eu-west-1/rds/aws4_request\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn call(stack: &Stack, form: &str) -> String {
    send(stack, "POST", "/", &format!("Version=2014-10-31&{form}")).await
}

async fn create(stack: &Stack, id: &str) {
    let answer = call(
        stack,
        &format!(
            "Action=CreateDBInstance&DBInstanceIdentifier={id}&Engine=postgres&DBInstanceClass=db.t3.micro\
             &AllocatedStorage=20&MasterUsername=app&MasterUserPassword=secret1234&BackupRetentionPeriod=0"
        ),
    )
    .await;
    assert!(answer.contains("<DBInstanceStatus>creating</DBInstanceStatus>"), "{answer}");
    wait_until_available(stack, id).await;
}

async fn wait_until_available(stack: &Stack, id: &str) {
    let since = Instant::now();
    loop {
        let answer = call(stack, &format!("Action=DescribeDBInstances&DBInstanceIdentifier={id}")).await;
        if answer.contains("<DBInstanceStatus>available</DBInstanceStatus>") {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(180), "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The process id of the only instance's server.
async fn server_pid(stack: &Stack) -> u32 {
    let answer = send(stack, "GET", "/_control/instances", "").await;
    let json = answer.split("\r\n\r\n").nth(1).unwrap();
    let instances: serde_json::Value = serde_json::from_str(json).unwrap();
    instances[0]["pid"].as_u64().unwrap().try_into().unwrap()
}

/// Whether a PostgreSQL server runs under that process id.
fn is_server(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains("postgres"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_survives_a_stop_and_start_of_the_stack() {
    let directory = tempfile::tempdir().unwrap();
    let stack = start(directory.path()).await;
    assert_eq!(stack.ca_path(), directory.path().canonicalize().unwrap().join("ca.pem"));
    assert!(stack.ca_path().is_file());
    create(&stack, "orders").await;
    let pid = server_pid(&stack).await;
    assert!(is_server(pid));
    stack.stop().await;
    assert!(!is_server(pid));

    let stack = start(directory.path()).await;
    let answer = call(&stack, "Action=DescribeDBInstances").await;
    assert!(answer.contains("<DBInstanceIdentifier>orders</DBInstanceIdentifier>"), "{answer}");
    assert!(answer.contains("<DBInstanceStatus>available</DBInstanceStatus>"), "{answer}");
    assert!(is_server(server_pid(&stack).await));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_stack_ends_its_servers() {
    let directory = tempfile::tempdir().unwrap();
    let stack = start(directory.path()).await;
    create(&stack, "orders").await;
    let pid = server_pid(&stack).await;
    drop(stack);
    let since = Instant::now();
    while is_server(pid) {
        assert!(since.elapsed() < Duration::from_secs(60), "the server is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // And the directory is free again.
    start(directory.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_and_an_open_address_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let stack = start(directory.path()).await;
    let second =
        Stack::start(Options { data: Some(directory.path().to_owned()), ..Options::default() }).await;
    let refused = second.unwrap_err();
    assert!(matches!(refused, StartError::Machine(_)), "{refused}");
    assert!(refused.to_string().contains("another local stack uses"), "{refused}");
    stack.stop().await;

    let open = Stack::start(Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() }).await;
    let refused = open.unwrap_err();
    assert!(matches!(refused, StartError::Request(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_credentials_and_an_unknown_action_are_refused_as_on_aws() {
    let directory = tempfile::tempdir().unwrap();
    let stack = start(directory.path()).await;
    let answer = call(&stack, "Action=DescribeEverything").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("<Code>InvalidAction</Code>"), "{answer}");
    let mut stream = TcpStream::connect(stack.endpoint().trim_start_matches("http://")).await.unwrap();
    let request = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("<Code>MissingAuthenticationToken</Code>"), "{answer}");
    stack.stop().await;
}
