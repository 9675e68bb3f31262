//! Answers that get lost: the engine asks once more, and all is as if it had asked once.

use super::*;
use hopsack_lab::require;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A network or an endpoint that an engine asked for and does not have is removed after 20 s.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What happens to calls on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Each is made twice, and the second answer told.
    Twice,
    /// The first answer to each kind of call is lost: the connection ends instead.
    Lost,
}

/// Stands between an engine and its agent's socket.
struct Between {
    socket: PathBuf,
    behind: PathBuf,
    met: Arc<Mutex<BTreeSet<String>>>,
    ended: Arc<AtomicBool>,
    accepts: Option<thread::JoinHandle<()>>,
}

impl Between {
    /// Takes the place of a host's plugin socket.
    fn take(engines: &Engines, host: &str, trouble: Trouble) -> Self {
        let host = engines.host(host);
        // Connections that the engine has kept are to the agent itself.
        engines.scene.restart_agent(host.name());
        // The host's own file system, seen from outside.
        let plugins = PathBuf::from(format!("/proc/{}/root/run/docker/plugins", host.pid()));
        let (socket, behind) = (plugins.join("hopsack.sock"), plugins.join("agent"));
        std::fs::rename(&socket, &behind).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let met: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let ended: Arc<AtomicBool> = Arc::default();
        let (seen, end, agent) = (met.clone(), ended.clone(), behind.clone());
        let accepts = thread::spawn(move || {
            for engine in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, agent) = (seen.clone(), agent.clone());
                // Ends with its connection, which the engine closes, at the latest when its host goes.
                thread::spawn(move || drop(serve(&engine.unwrap(), &agent, trouble, &seen)));
            }
        });
        Self { socket, behind, met, ended, accepts: Some(accepts) }
    }

    /// Fails unless each kind of call had its trouble.
    fn met_all(&self) {
        let met = self.met.lock().unwrap();
        for call in [
            "IpamDriver.RequestPool",
            "IpamDriver.RequestAddress",
            "IpamDriver.ReleaseAddress",
            "IpamDriver.ReleasePool",
            "NetworkDriver.CreateNetwork",
            "NetworkDriver.CreateEndpoint",
            "NetworkDriver.Join",
            "NetworkDriver.ProgramExternalConnectivity",
            "NetworkDriver.RevokeExternalConnectivity",
            "NetworkDriver.Leave",
            "NetworkDriver.DeleteEndpoint",
            "NetworkDriver.DeleteNetwork",
        ] {
            assert!(met.contains(call), "{call} was not met, only {met:?}");
        }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&self.socket));
        drop(self.accepts.take().map(thread::JoinHandle::join));
        drop(std::fs::rename(&self.behind, &self.socket));
    }
}

/// Reads one message of HTTP/1.1. None: there is no more.
fn message(stream: &mut BufReader<&UnixStream>) -> std::io::Result<Option<Vec<u8>>> {
    let (mut all, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        all.extend(line.as_bytes());
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let head = all.len();
    all.resize(head + length, 0);
    stream.read_exact(&mut all[head..])?;
    Ok(Some(all))
}

/// Hands calls on and answers back, with trouble.
fn serve(
    engine: &UnixStream,
    agent: &Path,
    trouble: Trouble,
    met: &Mutex<BTreeSet<String>>,
) -> std::io::Result<()> {
    let ask = |call: &[u8]| {
        let upstream = UnixStream::connect(agent)?;
        (&upstream).write_all(call)?;
        message(&mut BufReader::new(&upstream)).map(Option::unwrap_or_default)
    };
    let mut calls = BufReader::new(engine);
    while let Some(call) = message(&mut calls)? {
        let text = String::from_utf8_lossy(&call).into_owned();
        let method = text.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        let first = met.lock().unwrap().insert(method);
        let mut answer = ask(&call)?;
        match trouble {
            Trouble::Lost if first => return Ok(()),
            Trouble::Lost => {}
            Trouble::Twice => answer = ask(&call)?,
        }
        let mut writer = engine;
        writer.write_all(&answer)?;
    }
    Ok(())
}

/// Types a command until it is done. Each time that it is not, its user is told what to do, or what is still in the way.
fn insist(engines: &Engines, line: &str) {
    let argv: Vec<&str> = std::iter::once("docker").chain(line.split_whitespace()).collect();
    wait::value(&format!("docker {line}"), FORGOTTEN, || {
        let output = engines.host("h1").exec(&argv).unwrap();
        // What a lost answer to a removal has removed, Docker's list loses too, in a moment.
        if output.success() || line.contains("rm ") && output.stderr.contains("No such") {
            return Ok(());
        }
        let told = ["do it once more", "the subnet of network docker-", "in use in network web by"];
        assert!(told.iter().any(|text| output.stderr.contains(text)), "docker {line}: {}", output.stderr);
        Err(output.stderr)
    })
    .unwrap();
}

/// All that a user does with networks and containers, ended with one of each.
const LINES: [&str; 10] = [
    "network create -d hopsack --ipam-driver hopsack --subnet 10.50.0.0/24 --ip-range 10.50.0.64/26 web",
    "create --name c1 --net web --ip 10.50.0.70 -p 8080:5000 busybox sleep 100000",
    "start c1",
    "create --name c2 --net web busybox sleep 100000",
    "start c2",
    "network create -d hopsack --ipam-driver hopsack other",
    "network connect other c2",
    "network disconnect other c2",
    "network rm other",
    "rm -f c1",
];

fn lines() -> impl Iterator<Item = String> {
    LINES.into_iter().map(|line| line.replace("busybox", &format!("--stop-signal KILL {IMAGE}")))
}

#[test]
fn calls_that_an_engine_makes_twice_come_to_what_one_comes_to() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let between = Between::take(&engines, "h1", Trouble::Twice);
    for line in lines() {
        engines.docker("h1", &line);
        if line == "start c2" {
            engines.await_ping("h1", "c2", "10.50.0.70".parse().unwrap());
            assert!(engines.scene.hopsack("h1", &["port", "c1"]).contains("8080"));
        }
    }
    between.met_all();
    engines.await_agreement();
    drop(between);
    engines.end();
}

#[test]
fn where_answers_to_an_engine_were_lost_its_user_types_the_command_again_and_nothing_is_left_of_the_first_time()
 {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    let between = Between::take(&engines, "h1", Trouble::Lost);
    for line in lines() {
        insist(&engines, &line);
    }
    between.met_all();
    engines.await_agreement();
    drop(between);
    engines.end();
}
