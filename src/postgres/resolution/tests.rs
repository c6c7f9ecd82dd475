use std::collections::BTreeMap;

use super::*;

fn surroundings(variables: &[(&str, &str)]) -> Environment {
    Environment {
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        home: None,
        account: Some("me".to_owned()),
    }
}

fn resolved(text: &str, variables: &[(&str, &str)]) -> String {
    match Target::resolve(text, &surroundings(variables)) {
        Ok(target) => {
            let password = target.server.password.as_ref().map_or("-", Password::expose);
            format!("{} {password} {:?}", target.display_url(), target.server.tls.mode)
        }
        Err(error) => error.chain(),
    }
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    for (text, expected) in [
        ("postgres://a:p%40ss@db.example:5433/app", "postgresql://a@db.example:5433/app p@ss VerifyFull"),
        ("postgresql://localhost", "postgresql://me@localhost:5432/ - Prefer"),
        ("postgresql://b@/app?host=/run/pg", "postgresql://b@%2Frun%2Fpg:5432/app - Prefer"),
        ("postgresql://%2Frun%2Fpg/db", "postgresql://me@%2Frun%2Fpg:5432/db - Prefer"),
        ("postgresql://[::1]:6000/a%20b", "postgresql://me@[::1]:6000/a%20b - Prefer"),
        ("postgresql://[fe80::1%25eth0]/d", "postgresql://me@[fe80::1%25eth0]:5432/d - VerifyFull"),
        ("postgresql://x/?dbname=y&user=u&password=s&port=1", "postgresql://u@x:1/y s VerifyFull"),
        ("postgresql://x/y?sslmode=require&connect_timeout=3", "postgresql://me@x:5432/y - Require"),
        ("POSTGRESQL://x/y?sslmode=verify-ca", "postgresql://me@x:5432/y - VerifyCa"),
        ("postgresql://host:/db", "postgresql://me@host:5432/db - VerifyFull"),
        ("postgresql://u:@host/db", "postgresql://u@host:5432/db - VerifyFull"),
        ("postgresql://:p@host/db", "postgresql://me@host:5432/db p VerifyFull"),
        ("postgresql://x/d?password=p+ss", "postgresql://me@x:5432/d p+ss VerifyFull"),
        ("postgresql://x?dbname=a+b", "postgresql://me@x:5432/a%2Bb - VerifyFull"),
        ("postgresql://x/a+b", "postgresql://me@x:5432/a%2Bb - VerifyFull"),
        ("postgresql://x/a@b", "postgresql://me@x:5432/a%40b - VerifyFull"),
        ("postgresql://x/a/b", "postgresql://me@x:5432/a%2Fb - VerifyFull"),
        ("postgresql://x/a#b", "postgresql://me@x:5432/a%23b - VerifyFull"),
        ("postgresql://u:p#w@x/d", "postgresql://u@x:5432/d p#w VerifyFull"),
        ("postgresql://u:a?b@x/d", "postgresql://u@x:5432/d a?b VerifyFull"),
        ("postgresql://u:a:b@x/d", "postgresql://u@x:5432/d a:b VerifyFull"),
        ("postgresql://x/данные", "postgresql://me@x:5432/данные - VerifyFull"),
        ("postgresql://ж%D0%B6@x/d", "postgresql://жж@x:5432/d - VerifyFull"),
        ("postgresql://x/d?ssl=true", "postgresql://me@x:5432/d - Require"),
        ("postgresql://x/d?requiressl=1", "postgresql://me@x:5432/d - Require"),
        (
            "postgresql://x/d?sslsni=0&ssl_max_protocol_version=TLSv1.3",
            "postgresql://me@x:5432/d - VerifyFull",
        ),
        ("postgresql://x/d?user=u&", "postgresql://u@x:5432/d - VerifyFull"),
        ("postgresql://x/d?user=", "postgresql://me@x:5432/d - VerifyFull"),
        ("  postgresql://x/d\n", "postgresql://me@x:5432/d - VerifyFull"),
        (
            "host=x dbname = 'a b' user=o\\'r password='p\\'w'",
            "postgresql://o%27r@x:5432/a%20b p'w VerifyFull",
        ),
        ("dbname=d host=/s port=5571", "postgresql://me@%2Fs:5571/d - Prefer"),
    ] {
        assert_eq!(resolved(text, &[]), expected, "{text}");
    }
}

#[test]
fn urls_of_frameworks_mean_what_they_mean_there() {
    for (text, expected) in [
        ("postgresql+psycopg2://u:p@x/d", "postgresql://u@x:5432/d p VerifyFull"),
        ("postgresql+asyncpg://u:p@x/d?ssl=require", "postgresql://u@x:5432/d p Require"),
        ("postgres+psycopg://x/d", "postgresql://me@x:5432/d - VerifyFull"),
        ("postgresql+psycopg2://u:a/b@x/d", "postgresql://u@x:5432/d a/b VerifyFull"),
        ("postgresql+psycopg2://x/d?options=-c+jit%3Doff", "postgresql://me@x:5432/d - VerifyFull"),
        ("postgresql+psycopg2:///d?host=/run/pg&port=6000", "postgresql://me@%2Frun%2Fpg:6000/d - Prefer"),
        ("postgis://u@x/d", "postgresql://u@x:5432/d - VerifyFull"),
        ("pgsql://u:p@x/d?serverVersion=16&charset=utf8", "postgresql://u@x:5432/d p VerifyFull"),
        ("jdbc:postgresql://x:5433/d?user=u&password=a+b&ssl=true", "postgresql://u@x:5433/d a b VerifyFull"),
        ("jdbc:postgresql:d", "postgresql://me@localhost:5432/d - Prefer"),
        ("jdbc:postgresql://x/d?currentSchema=a&sslmode=require", "postgresql://me@x:5432/d - Require"),
        (
            "postgresql://x/d?schema=public&connection_limit=5&pgbouncer=true",
            "postgresql://me@x:5432/d - VerifyFull",
        ),
        ("postgresql://x/d?pool_max_conns=4&uselibpqcompat=true", "postgresql://me@x:5432/d - VerifyFull"),
    ] {
        assert_eq!(resolved(text, &[]), expected, "{text}");
    }
    let target = Target::resolve("postgresql://x/d?schema=public&pool=5", &surroundings(&[])).unwrap();
    assert_eq!(
        target.note.as_deref(),
        Some("`schema`, `pool` in the connection URL are for the application and change nothing here")
    );
}

#[test]
fn what_is_written_comes_before_the_service_the_environment_and_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("services");
    std::fs::write(&file, "[s]\nhost=svc\nport=7000\ndbname=sdb\nsslmode=disable\n").unwrap();
    let file = file.to_str().unwrap();
    let services = [("PGSERVICEFILE", file), ("PGPORT", "9"), ("PGUSER", "eu"), ("PGDATABASE", "edb")];
    for (text, variables, expected) in [
        ("", &services[1..], "postgresql://eu@%2Fvar%2Frun%2Fpostgresql:9/edb - Prefer"),
        ("postgresql://?service=s", &services[..], "postgresql://eu@svc:7000/sdb - Disable"),
        ("postgresql://x/d?service=s", &services, "postgresql://eu@x:7000/d - Disable"),
        ("postgresql://u@x:1/d?service=s&sslmode=require", &services, "postgresql://u@x:1/d - Require"),
        ("postgresql://x", &services, "postgresql://eu@x:9/edb - VerifyFull"),
    ] {
        // Where the socket is depends on the machine; that it is one does not.
        let found = resolved(text, variables).replace("%2Ftmp", "%2Fvar%2Frun%2Fpostgresql");
        assert_eq!(found, expected, "{text}");
    }
    for (variables, expected) in [
        (&[("PGHOST", "/s"), ("PGPORT", "5571")][..], "postgresql://me@%2Fs:5571/app - Prefer"),
        (
            &[("PGHOST", "h"), ("PGSSLMODE", "require"), ("PGPASSWORD", "p")],
            "postgresql://me@h:5432/app p Require",
        ),
        (&[("PGHOST", "h"), ("PGREQUIRESSL", "1")], "postgresql://me@h:5432/app - Require"),
        (
            &[("PGHOST", "h"), ("PGREQUIRESSL", "1"), ("PGSSLMODE", "allow")],
            "postgresql://me@h:5432/app - Allow",
        ),
        (&[("PGHOSTADDR", "127.0.0.1")], "postgresql://me@127.0.0.1:5432/app - Prefer"),
        (&[("PGHOST", "db"), ("PGHOSTADDR", "10.0.0.1")], "postgresql://me@db:5432/app - VerifyFull"),
    ] {
        assert_eq!(resolved("postgresql:///app", variables), expected, "{variables:?}");
    }
}

#[test]
fn a_host_that_is_empty_keeps_the_environment_out() {
    let target = Target::resolve("host='' dbname=d", &surroundings(&[("PGHOST", "elsewhere")])).unwrap();
    assert!(target.server.host.starts_with('/'), "{}", target.server.host);
}

#[test]
fn several_hosts_keep_their_order_and_their_ports() {
    let places = |text: &str| -> Vec<String> {
        Target::resolve(text, &surroundings(&[])).unwrap().servers().map(Server::place).collect()
    };
    assert_eq!(places("postgresql://a:1,b:2,[::1]/d"), ["a:1", "b:2", "[::1]:5432"]);
    assert_eq!(places("postgresql://a,b/d?port=7"), ["a:7", "b:7"]);
    assert_eq!(places("host=a,b hostaddr=10.0.0.1,10.0.0.2"), ["a:5432", "b:5432"]);
}

#[test]
fn what_cannot_be_obeyed_is_named_without_a_password() {
    for (text, part) in [
        ("mysql://u:hunter2@h/d", "`mysql://` is neither PostgreSQL's nor SQLite's"),
        ("postgresql://u:hunter2@h:99999/d", "`port` of the connection URL is not a number"),
        ("postgresql://u:hunter2@h/d?port=hunter2", "`port` of the connection URL is not a number"),
        ("postgresql://u:hunter2@h/d?sslmode=hunter2", "`sslmode` of the connection URL is none of"),
        ("postgresql://u:hunter2@h/d?sslmode=", "`sslmode` of the connection URL is none of"),
        (
            "postgresql://u:hunter2@h/d?ssslmode=x",
            "the parameter `ssslmode` of a connection URL is not libpq's",
        ),
        ("postgresql://u:x/y?hunter2=1@h/d", "a parameter that is not libpq's"),
        ("postgresql://u:pa@hunter2@h/d", "more than one `@`"),
        ("postgresql://u@h/d%00e", "zero byte"),
        ("postgresql://u@h/d?dbname=%00", "zero byte"),
        ("postgresql://u@h/d%zz", "two hexadecimal digits do not follow"),
        ("postgresql://u@h/%ff", "not UTF-8"),
        ("postgresql://u:hunter2@h:x/d", "`port` of the connection URL is not a number"),
        (
            "postgresql://h:1,h:2,h/d?port=1,2",
            "`port` of the connection URL has 2 values, and there are 3 hosts",
        ),
        ("postgresql://[::1/d", "lacks its closing `]`"),
        ("postgresql://[::1]x/d", "neither `:` nor `/`"),
        ("postgresql://h/d?user", "has no `=`"),
        ("postgresql://h/d?options=-c a=b", "more than one `=`"),
        ("postgresql://h/d?requirepeer=x", "`requirepeer` of a connection URL is not supported"),
        ("postgresql://h/d?gssencmode=require", "GSSAPI"),
        ("postgresql://h/d?ssl=no-verify", "`ssl` of a connection URL is neither"),
        (
            "postgresql://h/d?connect_timeout=soon",
            "`connect_timeout` of the connection URL is not a whole number",
        ),
        ("postgresql://h/d?targetServerType=primary", "`targetServerType`"),
        ("postgresql://h/d?service=nowhere", "service `nowhere` is not defined"),
        ("prisma+postgres://accelerate.prisma-data.net/?api_key=hunter2", "Prisma's own service"),
        ("'postgresql://u:hunter2@h/d'", "is in quotes"),
        ("\"postgresql://u:hunter2@h/d\"", "is in quotes"),
        ("host=h pasword=hunter2", "the parameter `pasword`"),
        ("host=h password=a hunter2=b", "a parameter that is not libpq's"),
        ("host=h password='hunter2", "does not end"),
    ] {
        let said = resolved(text, &[]);
        assert!(said.contains(part), "{text}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    for (name, value, part) in [
        ("PGPORT", "x", "PGPORT is not a number"),
        ("PGSSLMODE", "verify", "PGSSLMODE is none of"),
        ("PGREQUIREPEER", "x", "the variable PGREQUIREPEER is not supported"),
        ("PGSERVICE", "x", "service `x` is not defined"),
        ("PGTARGETSESSIONATTRS", "x", "PGTARGETSESSIONATTRS is none of"),
    ] {
        let said = resolved("postgresql://h/d", &[(name, value)]);
        assert!(said.contains(part), "{name}: {said}");
    }
}

#[test]
fn files_in_the_home_directory_count_as_they_do_for_libpq() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(
        ".pgpass",
        "localhost:5432:d:me:of-socket\n/s:5571:*:me:of-other-socket\ndb:*:d:*:of-d\ndb:*:*:*:of-all\n",
    );
    write(".postgresql/root.crt", "x");
    write(".postgresql/postgresql.crt", "x");
    let environment = Environment { home: Some(home.path().to_owned()), ..surroundings(&[]) };
    let target = |text: &str| Target::resolve(text, &environment).unwrap();
    let password = |text: &str, database: &str| {
        target(text).server.password_for(database).map(|password| password.expose().to_owned())
    };
    assert_eq!(password("postgresql:///d", "d").as_deref(), Some("of-socket"));
    assert_eq!(password("host=/s port=5571", "x").as_deref(), Some("of-other-socket"));
    assert_eq!(password("postgresql://db/d", "d").as_deref(), Some("of-d"));
    assert_eq!(password("postgresql://db/d", "other").as_deref(), Some("of-all"));
    assert_eq!(password("host=db hostaddr=10.0.0.1", "d").as_deref(), Some("of-d"));
    assert_eq!(password("postgresql://me:own@db/d", "d").as_deref(), Some("own"));
    let tls = target("postgresql://db/d?sslmode=require").server.tls;
    assert!(tls.checks_certificates(), "with a file of authorities, `require` checks them");
    assert_eq!(tls.client.unwrap().key, home.path().join(".postgresql/postgresql.key"));
}

proptest::proptest! {
    #[test]
    fn what_is_shown_is_read_again(user in "\\PC{1,12}", host in "[a-z0-9.-]{1,12}|/[a-z /]{1,9}|::1", port: u16, database in "\\PC{0,12}") {
        let server = Server {
            host: host.clone(),
            port: port.max(1),
            user: user.clone(),
            password: None,
            tls: Tls::default(),
            application_name: String::new(),
            wire: ConnectionOptions::default(),
        };
        let again = Target::resolve(&server.url(&database), &surroundings(&[])).unwrap();
        proptest::prop_assert_eq!(again.server.host, host);
        proptest::prop_assert_eq!(again.server.port, port.max(1));
        proptest::prop_assert_eq!(again.server.user, user);
        proptest::prop_assert_eq!(again.database.unwrap_or_default(), database);
    }

    #[test]
    fn any_text_is_read_or_refused(text: String, value: String) {
        let _ = resolved(&text, &[]);
        let _ = resolved(&format!("postgresql://{text}"), &[("PGOPTIONS", value.as_str())]);
        let _ = resolved(&format!("host={text}"), &[]);
    }
}

#[test]
fn names_in_the_table_of_parameters_are_there_once() {
    let mut seen = BTreeMap::new();
    for (name, variable) in parameters::in_environment() {
        assert!(seen.insert(name, variable).is_none(), "{name}");
        assert!(!parameters::is_of_framework(name), "{name}");
    }
}
