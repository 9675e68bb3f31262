//! The metrics port of a real agent: what it answers, and what becomes of an agent that cannot have it.

use crate::scene::{PROGRAM, SETTLED, Scene};
use hopsack_lab::{AGENT, Host, HostSpec, Inside, SegmentSpec, Topology, require, wait};

/// What the agent's port answers to a path: the status line, the headers and the body. None if nobody listens.
fn ask(host: &Host, path: &str) -> Option<String> {
    let talk = format!(
        "exec 3<>/dev/tcp/127.0.0.1/4680 && printf 'GET {path} HTTP/1.0\\r\\nHost: h1\\r\\n\\r\\n' >&3 && cat <&3"
    );
    let output = host.exec(&["bash", "-c", &talk]).unwrap();
    output.success().then_some(output.stdout)
}

/// Waits for an answer with a status and a text in it.
fn await_answer(host: &Host, path: &str, status: &str, text: &str) {
    wait::value(&format!("{path} answers {status}, {text}"), SETTLED, || match ask(host, path) {
        Some(answer) if answer.starts_with(&format!("HTTP/1.0 {status}")) && answer.contains(text) => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .unwrap();
}

fn await_fault(scene: &Scene, text: &str, there: bool) {
    wait::value(&format!("the fault {text:?}: {there}"), SETTLED, || {
        let faults = scene.status("h1")["faults"].to_string();
        if faults.contains(text) == there { Ok(()) } else { Err(faults) }
    })
    .unwrap();
}

#[test]
fn metrics_and_health_are_answered_on_loopback_and_a_taken_port_is_a_fault_until_it_is_free() {
    require!(Root, Nft, Vxlan);
    let lan = SegmentSpec::new("lan1", &["10.77.1.0/24"]);
    let scene = Scene::agents(
        Topology::builder().segment(lan).host(HostSpec::plain("h1", &["lan1"])).build().unwrap(),
    );
    let host = scene.host("h1");
    await_answer(&host, "/healthz", "200", "alive");
    await_answer(&host, "/readyz", "503", "this host is in no cluster\n");
    scene.form();
    await_answer(&host, "/readyz", "200", "ready");
    await_answer(&host, "/metrics", "200", "content-type: application/openmetrics-text; version=1.0.0");
    await_answer(&host, "/metrics", "200", "\nhopsack_hosts 1.0\n");
    assert!(ask(&host, "/metrics").unwrap().ends_with("# EOF\n"));

    host.stop(AGENT).unwrap();
    let other = host.start_traffic(&["tcp-echo", "--bind", "127.0.0.1:4680"]).unwrap();
    scene.start_agent("h1");
    await_fault(&scene, "metrics are not served at 127.0.0.1:4680", true);
    drop(other);
    await_fault(&scene, "metrics are not served", false);
    await_answer(&host, "/readyz", "200", "ready");
    let refused = scene.refused("h1", 2, &["agent", "--metrics", "localhost"]);
    assert!(
        refused.ends_with("write an address and a port, like 127.0.0.1:4680 or [::1]:4680, or off"),
        "{refused}"
    );
    assert!(ask(&host, "/metrics").is_some(), "{}", host.log_tail(AGENT, 12));
    let help = host.run(&[PROGRAM, "agent", "--help"]).unwrap();
    assert!(help.contains("HOPSACK_METRICS"), "{help}");
    scene.end();
}
