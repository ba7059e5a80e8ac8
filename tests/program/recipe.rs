//! The recipe's own Python clients, against the program as a stranger starts it.

use std::process::Command;

use crate::common::{Server, python, run, succeed};

/// What the recipe's XML-RPC session prints, as Python prints it.
const RECIPE: &str = "None\nNone\n['foo', 'spam']\nbar\n[1, 2, 3]\nNone\nFalse\n1 <class 'KeyError'>:'spam'";

#[test]
fn the_echo_client_gets_its_bytes_back() {
    let server = Server::start(&[]);
    let port = server.port("echo").to_string();
    let printed = succeed(python("recipe_echo.py").args([&port, &server.certificate("ca.pem")]));
    assert_eq!(printed, "12\nb'Hello World?'");
}

#[test]
fn the_xmlrpc_client_gets_what_the_recipe_prints() {
    let server = Server::start(&[]);
    let port = server.port("xmlrpc").to_string();
    let printed = succeed(python("recipe_xmlrpc.py").args([&port, &server.certificate("ca.pem")]));
    assert_eq!(printed, RECIPE);
}

#[test]
fn the_recipes_self_signed_certificates_work_on_both_sides() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["server", "client"] {
        let (key, cert) = (format!("{name}_key.pem"), format!("{name}_cert.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-new", "-x509", "-days", "365", "-nodes", "-subj", "/CN=localhost"]);
        succeed(openssl.args(["-keyout", &key, "-out", &cert]).current_dir(dir.path()));
    }
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (server_cert, client_cert, client_key) =
        (path("server_cert.pem"), path("client_cert.pem"), path("client_key.pem"));
    for trust in ["--client-ca", "--client-pin"] {
        let server = Server::start(&["--cert", &server_cert, "--key", &path("server_key.pem"), trust, &client_cert]);
        let (echo, xmlrpc) = (server.port("echo").to_string(), server.port("xmlrpc").to_string());
        let known = [&server_cert, &client_cert, &client_key];
        assert_eq!(succeed(python("recipe_echo.py").arg(&echo).args(known)), "12\nb'Hello World?'", "{trust}");
        assert_eq!(succeed(python("recipe_xmlrpc.py").arg(&xmlrpc).args(known)), RECIPE, "{trust}");

        let stranger = run(python("recipe_xmlrpc.py").args([&xmlrpc, &server_cert]));
        assert!(!stranger.status.success(), "{trust}: a client without a certificate was served");
        server.logged("reason=\"certificate\"");
        let errors = String::from_utf8_lossy(&stranger.stderr).into_owned();
        assert!(errors.contains("ALERT_CERTIFICATE_REQUIRED") || errors.contains("certificate required"), "{errors}");
    }
}

#[test]
fn the_certificate_of_another_client_is_refused() {
    let server = Server::start(&[]);
    let stranger = Server::start(&[]);
    let (ca, foreign) =
        (server.certificate("ca.pem"), [stranger.certificate("client.pem"), stranger.certificate("client-key.pem")]);
    let guarded = Server::start(&[
        "--cert",
        &server.certificate("server.pem"),
        "--key",
        &server.certificate("server-key.pem"),
        "--client-ca",
        &ca,
    ]);
    let port = guarded.port("echo").to_string();
    let own = [server.certificate("client.pem"), server.certificate("client-key.pem")];
    assert_eq!(succeed(python("recipe_echo.py").args([&port, &ca]).args(&own)), "12\nb'Hello World?'");
    assert!(!run(python("recipe_echo.py").args([&port, &ca]).args(&foreign)).status.success());
    guarded.logged("reason=\"certificate\"");
}
