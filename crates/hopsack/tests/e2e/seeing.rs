//! What a user looks at: where addresses are, what the doctor finds, what is in a report.

use crate::scene::{PROGRAM, SETTLED, Scene};
use flate2::read::GzDecoder;
use hopsack_agent::trust::token::{JoinToken, secret_hash};
use hopsack_lab::{AGENT, HostKind, Inside, Topology, require, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tar::Archive;

/// Two hosts on one segment.
fn pair() -> Scene {
    Scene::cluster(Topology::numbered(2, &[], HostKind::Plain).unwrap())
}

/// What the doctor says on a host: its exit status, and its findings.
fn doctor(scene: &Scene, host: &str) -> (Option<i32>, Vec<Value>) {
    let output = scene.host(host).exec(&[PROGRAM, "doctor", "-o", "json"]).unwrap();
    let told: Value = serde_json::from_str(&output.stdout).unwrap();
    (output.status.code(), told["findings"].as_array().unwrap().clone())
}

/// The first finding about something that is not well.
fn amiss(findings: &[Value], subject: &str) -> Option<(String, String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let found =
        findings.iter().find(|finding| finding["subject"] == subject && finding["verdict"] != "ok")?;
    Some((text(found, "verdict"), text(found, "found"), text(found, "next")))
}

#[test]
fn the_doctor_finds_a_cluster_well_and_names_what_is_broken_with_the_command_that_mends_it() {
    require!(Root, Nft, Ping);
    let scene = pair();
    let [one, two] = scene.containers(["h1", "h2"]);
    let (status, findings) = doctor(&scene, "h1");
    let fails: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] == "fail").collect();
    assert_eq!((status, fails), (Some(0), Vec::new()));
    for subject in ["ports", "forwarding", "mtu", "clocks", "peers", "state"] {
        assert!(findings.iter().any(|finding| finding["subject"] == subject), "{subject}: {findings:#?}");
        assert_eq!(amiss(&findings, subject), None);
    }

    let chain = "add table inet mine; add chain inet mine forward { type filter hook forward priority 0; policy drop; }";
    scene.host("h1").run(&["nft", chain]).unwrap();
    wait::until("nothing passes", SETTLED, || !one.reaches(two.address())).unwrap();
    let (status, findings) = doctor(&scene, "h1");
    let (verdict, found, next) = amiss(&findings, "firewalls").unwrap();
    assert_eq!((status, verdict.as_str()), (Some(1), "fail"));
    assert!(found.starts_with("nftables chain inet mine forward drops what is forwarded"), "{found}");
    scene.host("h1").run(&["sh", "-c", &next]).unwrap();
    one.await_reach(two.address());
    assert_eq!(amiss(&doctor(&scene, "h1").1, "firewalls"), None);

    scene.host("h2").stop(AGENT).unwrap();
    let (verdict, found, _) = amiss(&doctor(&scene, "h1").1, "peers").unwrap();
    assert_eq!(verdict, "fail");
    assert!(found.starts_with("h2 does not answer at "), "{found}");

    scene.host("h1").stop(AGENT).unwrap();
    let (status, findings) = doctor(&scene, "h1");
    let (verdict, found, _) = amiss(&findings, "agent").unwrap();
    assert_eq!((status, verdict.as_str()), (Some(0), "warn"));
    assert!(found.starts_with("no agent answers at /run/hopsack/api.sock"), "{found}");
    assert!(findings.iter().any(|finding| finding["subject"] == "state"), "{findings:#?}");
    drop((one, two));
    scene.end();
}

/// The files of an archive, by their names without the folder.
fn unpack(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = Archive::new(GzDecoder::new(fs::File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

/// All that nobody else may know of a host's state directory and of a token, each with a name.
fn secrets(state: &Path, token: &str) -> Vec<(String, Vec<u8>)> {
    let token: JoinToken = token.parse().unwrap();
    let mut secrets = vec![
        ("the token".to_owned(), hex(&token.secret).into_bytes()),
        ("the token's hash".to_owned(), secret_hash(&token.secret).into_bytes()),
    ];
    for file in fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|end| end == "key") {
            let bytes = fs::read(&file).unwrap();
            let name = file.display().to_string();
            // Any half of an Ed25519 key or of a cluster's.
            for part in bytes.windows(16) {
                secrets.push((name.clone(), part.to_vec()));
                secrets.push((name.clone(), hex(part).into_bytes()));
            }
        }
    }
    secrets
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_report_has_all_that_is_asked_for_and_no_secret_and_addresses_are_shown_with_their_holders() {
    require!(Root, Nft, Ping);
    let scene = pair();
    let token = scene.token();
    scene.network("web", &["--label", "password=hunter2hunter2"]);
    let here = scene.attach("h1", "c-h1", "web", &["--label", "key=sesame4711"]);
    let there = scene.attach("h2", "c-h2", "web", &[]);
    here.await_reach(there.address());

    let shown = scene.hopsack("h1", &["ipam", "show", "web"]);
    for (attached, host) in [(&here, "h1"), (&there, "h2")] {
        let line = shown.lines().find(|line| line.starts_with(&format!("{} ", attached.address()))).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..4], ["web", host, attached.container.name()], "{shown}");
    }
    let none = scene.refused("h1", 1, &["ipam", "show", "db"]);
    assert_eq!(none, "error: there is no network \"db\": `hopsack network ls` lists them");

    let state = scene.host("h1").var_lib().join("hopsack");
    let secrets = secrets(&state, &token);
    assert!(secrets.len() > 100, "the keys of a voter were found");
    let made: Value =
        serde_json::from_str(&scene.hopsack("h1", &["report", "-f", "/var/lib/r.tar.gz", "-o", "json"]))
            .unwrap();
    let archive = scene.host("h1").var_lib().join("r.tar.gz");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let parts = unpack(&archive);
    let listed = made["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap());
    assert_eq!(listed.collect::<std::collections::BTreeSet<_>>(), parts.keys().map(String::as_str).collect());
    let text = |name: &str| String::from_utf8(parts[name].clone()).unwrap();
    for (name, word) in [
        ("status.json", "\"revision\""),
        ("ipam.json", "\"blocks\""),
        ("doctor.json", "\"findings\""),
        ("networks.json", "\"password\": \"(left out)\""),
        ("endpoints.json", "c-h1"),
        ("events.json", "network-made"),
        ("settings.txt", "net/ipv4/ip_forward = 1"),
        ("nft-hopsack.txt", "table inet hopsack"),
        ("ip-route.txt", "proto 72"),
        ("ip-link.txt", "hop0"),
    ] {
        assert!(text(name).contains(word), "{word} is not in {name}: {}", text(name));
    }
    let whole: Vec<u8> = parts.into_values().flatten().collect();
    let has = |secret: &[u8]| whole.windows(secret.len()).any(|window| window == secret);
    for (name, secret) in secrets {
        assert!(!has(&secret), "{name} is in the report");
    }
    assert!(!has(b"hunter2hunter2") && !has(b"sesame4711"), "what labels say is in the report");

    let again = scene.refused("h1", 1, &["report", "-f", "/var/lib/r.tar.gz"]);
    let told = "error: cannot write the report to /var/lib/r.tar.gz: File exists";
    assert!(again.starts_with(told) && again.ends_with("choose another file with -f"), "{again}");
    drop((here, there));
    scene.end();
}
