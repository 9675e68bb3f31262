//! Who does not belong to the cluster gets nothing from it, and cannot disturb it.

use crate::scene::{SETTLED, Scene};
use hopsack_agent::talk::tls::TlsWire;
use hopsack_agent::talk::transport::{TransportError, Wire};
use hopsack_agent::talk::wire::{Answer, Question};
use hopsack_agent::trust::token::JoinToken;
use hopsack_api::ErrorCode;
use hopsack_lab::{AGENT, Host, HostKind, Inside, Topology, require, wait};
use hopsack_types::Revision;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

const VOTER: &str = "10.77.1.1:4677";
const PATIENCE: Duration = Duration::from_secs(5);

fn plain(count: usize) -> Topology {
    Topology::numbered(count, &[], HostKind::Plain).unwrap()
}

/// Does something in the network of a host.
fn on(host: &Host, work: impl FnOnce() + Send) {
    let file = format!("/proc/{}/ns/net", host.pid());
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(File::open(file).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work();
        });
        inside.join().unwrap();
    });
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

#[test]
fn without_a_certificate_one_may_only_ask_to_join() {
    require!(Root);
    let scene = Scene::agents(plain(2));
    scene.hopsack("h1", &["init"]);
    let token: JoinToken = scene.token().parse().unwrap();
    let voter: SocketAddr = VOTER.parse().unwrap();
    let ask = async {
        let mut connection = TlsWire.connect_by_hash(voter, &token.ca_hash).await.unwrap();
        for question in [
            Question::Members(Vec::new()),
            Question::Push(Vec::new()),
            Question::Fill(Vec::new()),
            Question::Renew(Vec::new()),
            Question::Follow(Revision::default()),
        ] {
            match connection.ask(&question).await.unwrap() {
                Answer::Refused(error) => assert_eq!(error.code, ErrorCode::Denied, "{question:?}: {error}"),
                answer => panic!("{question:?} was answered with {answer:?}"),
            }
        }
        // Who is given the hash of another authority does not say its secret.
        let refused = TlsWire.connect_by_hash(voter, &"0".repeat(64)).await;
        assert!(matches!(refused.err(), Some(TransportError::OtherCluster { .. })));
    };
    on(&scene.host("h2"), || block_on(ask));
    scene.end();
}

#[test]
fn a_connection_without_tls_gets_no_answer() {
    require!(Root);
    let scene = Scene::agents(plain(2));
    scene.hopsack("h1", &["init"]);
    on(&scene.host("h2"), || {
        let mut stream = TcpStream::connect(VOTER).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        // At most an alert of TLS: content type 21, version, length 2, level and description (RFC 8446, section 6).
        assert!(answer.is_empty() || (answer[0] == 21 && answer.len() == 7), "{answer:?}");
    });
    assert!(scene.hopsack("h1", &["host", "ls"]).contains("h1"), "the agent was disturbed");
    scene.end();
}

#[test]
fn two_clusters_that_meet_at_an_address_refuse_each_other_loudly() {
    require!(Root, Nft);
    let scene = Scene::cluster(plain(2));
    // h2 forgets that it was a member and makes a cluster of its own, where the first one still looks for it.
    let other = scene.host("h2");
    other.stop(AGENT).unwrap();
    other.run(&["rm", "-r", "/var/lib/hopsack"]).unwrap();
    scene.start_agent("h2");
    scene.hopsack("h2", &["init"]);
    wait::until("h1 tells in its log", SETTLED, || {
        let told = "the host at an address of this cluster is of another cluster address=10.77.1.2:4677";
        scene.host("h1").log(AGENT).contains(told)
    })
    .unwrap();
    wait::until("h1 tells in its status", SETTLED, || {
        scene.status("h1")["faults"].to_string().contains("the agent of host h2 does not answer")
    })
    .unwrap();
    let alone = scene.hopsack("h2", &["host", "ls", "-o", "json"]);
    assert!(!alone.contains("\"h1\""), "{alone}");
    scene.end();
}

#[test]
fn datagrams_of_strangers_change_nothing() {
    require!(Root, Nft);
    let scene = Scene::agents(plain(3));
    scene.hopsack("h1", &["init"]);
    let token = scene.token();
    scene.hopsack("h2", &["join", "10.77.1.1", "--token", &token]);
    let answering = || {
        let told = scene.hopsack("h1", &["host", "ls", "-o", "json"]);
        told.matches("\"alive\": true").count()
    };
    wait::until("both answer", SETTLED, || answering() == 2).unwrap();
    // Of h3, which is no member, and of h2's machine, but not of its agent.
    for (host, size) in [("h3", "64"), ("h3", "1400"), ("h2", "300")] {
        let send = ["udp-send", "--to", VOTER, "--count", "2000", "--rate", "4000", "--size", size];
        assert!(scene.host(host).traffic(&send, PATIENCE).unwrap().success());
    }
    assert_eq!(answering(), 2);
    let service = scene.host("h1").service(AGENT).unwrap();
    assert_eq!((service.starts, service.pid.is_some()), (1, true), "{service:?}");
    assert!(!scene.hopsack("h1", &["status"]).contains("10.77.1.3"));
    scene.end();
}
