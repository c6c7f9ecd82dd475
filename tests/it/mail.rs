//! Mail among the channels of notifications, against a real mail server: STARTTLS, TLS from the first byte, and none.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{Run, World, finish};

/// A mail server; it ends with its input.
struct Server {
    port: u16,
    mails: Lines<BufReader<ChildStdout>>,
    _server: Child,
}

fn python() -> String {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/clients/bin/python");
    if std::path::Path::new(installed).exists() { installed.to_owned() } else { "python3".to_owned() }
}

impl Server {
    async fn start(mode: &str, world: &World) -> Server {
        let folder = world.path("certificates");
        std::fs::create_dir_all(&folder).unwrap();
        let folder = folder.to_str().unwrap();
        let made = Command::new(python())
            .args(["-m", "trustme", "-q", "-i", "localhost", "-d", folder])
            .status()
            .await;
        assert!(made.unwrap().success(), "trustme is installed by `make setup`");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/mail_server.py");
        let mut server = Command::new(python())
            .args([script, mode, folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut mails = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = mails.next_line().await.unwrap().expect("the server says its port").parse().unwrap();
        Server { port, mails, _server: server }
    }

    async fn mail(&mut self) -> Value {
        serde_json::from_str(&self.mails.next_line().await.unwrap().unwrap()).unwrap()
    }
}

fn configure(world: &World, port: u16, more: &str) {
    let channel = format!(
        "[notify.channels.mail]\nkind = \"smtp\"\nserver = \"localhost:{port}\"\nfrom = \"lifeboat <lifeboat@example.com>\"\n\
         to = [\"oncall@example.com\", \"Ops <ops@example.com>\"]\n{more}\n"
    );
    world.write("lifeboat.toml", &channel);
}

const LOGIN: &str = "user = \"lifeboat\"\npassword_env = \"SMTP_PASSWORD\"";

async fn lifeboat(world: &World, password: &str, arguments: &[&str]) -> Run {
    let mut command = world.command(arguments);
    command.env("SMTP_PASSWORD", password).env("SSL_CERT_FILE", world.path("certificates/client.pem"));
    finish(command.spawn().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_fails_is_heard_by_mail_and_that_it_is_well_again_too() {
    let world = World::with_orders().await;
    let mut server = Server::start("starttls", &world).await;
    configure(&world, server.port, LOGIN);
    let drill = ["drill", "run", "orders-prod", "--poll", "200ms"];
    let damage = json!({"database": "app", "sql": "delete from users where id = 407"});
    world.control("POST", "restored-sql", damage).await;
    lifeboat(&world, "canary-smtp", &drill).await.assert_code(1);
    let mail = server.mail().await;
    assert_eq!(mail["from"], "lifeboat@example.com");
    assert_eq!(mail["to"], json!(["oncall@example.com", "ops@example.com"]));
    assert_eq!(
        (&mail["header_from"], &mail["encrypted"]),
        (&json!("lifeboat <lifeboat@example.com>"), &json!(true))
    );
    let subject = mail["subject"].as_str().unwrap();
    assert!(subject.contains("FAIL") && subject.contains("orders-prod"), "{mail}");
    assert!(mail["text"].as_str().unwrap().contains("407"), "{mail}");

    world.control("DELETE", "restored-sql", Value::Null).await;
    lifeboat(&world, "canary-smtp", &drill).await.assert_code(0);
    let well = server.mail().await;
    assert!(well["subject"].as_str().unwrap().contains("orders-prod"), "{well}");
    assert!(!well["subject"].as_str().unwrap().contains("FAIL"), "{well}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_over_every_kind_of_connection_and_a_refusal_says_why() {
    let world = World::new().await;
    let test = ["notify", "test", "mail"];
    for (mode, more) in [
        ("starttls", LOGIN.to_owned()),
        ("implicit", format!("{LOGIN}\ntls = \"implicit\"")),
        ("none", "tls = \"none\"".to_owned()),
    ] {
        let mut server = Server::start(mode, &world).await;
        configure(&world, server.port, &more);
        let run = lifeboat(&world, "canary-smtp", &test).await;
        assert!(run.assert_code(0).stdout.contains("arrived"), "{}", run.stdout);
        assert_eq!(server.mail().await["encrypted"], mode != "none", "{mode}");
    }

    let server = Server::start("starttls", &world).await;
    configure(&world, server.port, LOGIN);
    let wrong = lifeboat(&world, "canary-wrong", &test).await;
    let told = format!("{}{}", wrong.assert_code(3).stdout, wrong.stderr);
    assert!(told.contains("535") && told.contains(&format!("localhost:{}", server.port)), "{told}");
    // Who does not prove to be the server hears no password.
    let mut command = world.command(&test);
    command.env("SMTP_PASSWORD", "canary-smtp");
    let strange = finish(command.spawn().unwrap()).await;
    let told = format!("{}{}", strange.assert_code(3).stdout, strange.stderr);
    assert!(told.to_lowercase().contains("certificate"), "{told}");
    // A server that offers no STARTTLS is not talked to in the clear.
    let plain = Server::start("none", &world).await;
    configure(&world, plain.port, LOGIN);
    let told = lifeboat(&world, "canary-smtp", &test).await;
    let told = format!("{}{}", told.assert_code(3).stdout, told.stderr);
    assert!(told.contains("STARTTLS"), "{told}");
}
