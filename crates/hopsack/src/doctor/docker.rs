//! The Docker engine and the socket on which it asks our driver.

use super::agent::Asked;
use super::finding::{Finding, Subject};
use crate::cli::Places;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The oldest engine that Hopsack is made for.
const OLDEST: (u32, u32) = (20, 10);
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Engine and plugin socket.
pub fn check(asked: &Asked, places: &Places) -> Vec<Finding> {
    let engine = &places.docker_socket;
    if !engine.exists() {
        let found = format!("no Docker engine at {}; none is needed", engine.display());
        return vec![Finding::ok(Subject::Docker, found)];
    }
    let mut findings = vec![match ask(engine, "GET", "/version") {
        Ok(answer) => version(answer["Version"].as_str().unwrap_or("of no version")),
        Err(error) => {
            let found = format!("the engine at {} does not answer: {error}", engine.display());
            Finding::fail(Subject::Docker, found, "systemctl status docker")
        }
    }];
    match &asked.status {
        Ok(status) if status.docker.starts_with("left alone") => {
            findings.push(Finding::ok(Subject::Docker, "the agent leaves Docker alone (--no-docker)"));
        }
        Ok(_) => findings.push(driver(&places.plugin_socket)),
        Err(_) => {}
    }
    findings
}

fn version(version: &str) -> Finding {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST {
        return Finding::ok(Subject::Docker, format!("the engine answers: Docker {version}"));
    }
    let text = format!("Docker {version} is older than {}.{}, which Hopsack is made for", OLDEST.0, OLDEST.1);
    Finding::warn(Subject::Docker, text, "apt-get install docker.io")
}

fn driver(socket: &Path) -> Finding {
    let shown = socket.display();
    match ask(socket, "POST", "/Plugin.Activate") {
        Ok(answer)
            if answer["Implements"]
                .as_array()
                .is_some_and(|kinds| kinds.contains(&"NetworkDriver".into())) =>
        {
            Finding::ok(Subject::Docker, format!("our driver answers at {shown}"))
        }
        Ok(answer) => {
            let found = format!("who answers at {shown} is no network driver: {answer}");
            Finding::fail(Subject::Docker, found, "systemctl restart hopsack")
        }
        Err(error) => {
            let found = format!("our driver does not answer at {shown}, where Docker looks for it: {error}");
            Finding::fail(Subject::Docker, found, "systemctl restart hopsack")
        }
    }
}

/// One question over a unix socket. HTTP/1.0, so that the answer comes whole and the connection ends (RFC 1945).
fn ask(socket: &Path, method: &str, path: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("{method} {path} HTTP/1.0\r\nHost: doctor\r\nContent-Length: 0\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_str(body)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn engines_from_20_10_on_are_new_enough() {
        for (number, verdict) in
            [("20.10.24+dfsg1", Verdict::Ok), ("27.3.1", Verdict::Ok), ("19.03.8", Verdict::Warn)]
        {
            assert_eq!(version(number).verdict, verdict, "{number}");
        }
    }
}
