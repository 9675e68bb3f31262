//! Two hosts from the package: emulated machines with Debian's kernel, systemd and package manager, as a user has them.

use crate::package;
use hopsack_lab::{Kit, Machine, require, wait};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The package, where the hosts find it.
const PACKAGE: &str = "/root/hopsack.deb";
/// Makes a package of the same programs with a newer version.
const NEWER: &str = "cd /root && dpkg-deb -R hopsack.deb newer && sed -i 's/^Version:.*/Version: 99/' newer/DEBIAN/control \
                     && dpkg-deb -Znone -b newer newer.deb && rm -r newer";
/// For what takes a second on a real host.
const SETTLED: Duration = Duration::from_secs(120);
/// The network of a host, and files: what a purge has to leave as it was.
const LOOK: &str =
    concat!(include_str!("../network.sh"), "find /etc /run /usr /var -xdev -path '*hopsack*'\n");

/// Runs a command that has to succeed.
fn run(host: &mut Machine, command: &str) -> String {
    host.run(command).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a command until it succeeds: an emulated machine may take longer than the agent waits for the first handshake, and
/// for the first container, with which the kernel loads modules.
fn insist(host: &mut Machine, command: &str) -> String {
    let tried = || host.run(command).map_err(|error| error.to_string());
    wait::value(command, SETTLED, tried).unwrap_or_else(|error| panic!("{error}"))
}

fn look(host: &mut Machine) -> Vec<String> {
    run(host, LOOK).lines().map(str::to_owned).collect()
}

/// What is in one and not in the other, both ways.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("gone: {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("left: {line}"));
    gone.chain(new).collect()
}

/// Does the same on both hosts, at once: an emulated machine has one core of its own.
fn both<T: Send>(hosts: [&mut Machine; 2], work: impl Fn(&mut Machine) -> T + Sync) -> [T; 2] {
    let [one, two] = hosts;
    thread::scope(|scope| {
        let other = scope.spawn(|| work(two));
        let one = work(one);
        [one, other.join().unwrap()]
    })
}

/// Makes a namespace with a container in a network, and gives its address.
fn attach(host: &mut Machine, container: &str, words: &str) -> String {
    run(host, &format!("ip netns add {container}"));
    let told = insist(host, &format!("hopsack attach {container} --network web {words} -o json"));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    told["addresses"][0].as_str().unwrap().to_owned()
}

fn await_ping(host: &mut Machine, container: &str, address: &str) {
    let ping = format!("ip netns exec {container} ping -c 1 -W 1 {address}");
    wait::until(&format!("{container} reaches {address}"), SETTLED, || host.exec(&ping).unwrap().success())
        .unwrap();
}

/// Gives a host its address, looks at it, and installs the package.
fn install(host: &mut Machine, address: &str) -> Vec<String> {
    run(host, &format!("ip address add {address}/24 dev eth0 && ip link set eth0 up"));
    run(host, "ip route add default via 10.77.1.254");
    insist(host, "[ -z \"$(ip address show tentative)\" ]");
    let before = look(host);
    run(host, &format!("apt-get install -y {PACKAGE}"));
    assert_eq!(run(host, "systemctl is-enabled hopsack && systemctl is-active hopsack"), "enabled\nactive\n");
    assert_eq!(run(host, "systemctl show -P StatusText hopsack"), "answers callers\n");
    assert_eq!(run(host, "systemd-analyze --man=no verify hopsack.service"), "");
    // Of 100; a service that does what it likes has 96.
    run(host, "systemd-analyze security --threshold=40 hopsack.service");
    before
}

#[test]
fn two_hosts_from_the_package_form_a_cluster_and_are_as_before_once_it_is_purged() {
    require!(Root);
    let kit = Kit::beside(Path::new(env!("CARGO_BIN_EXE_hopsack"))).unwrap();
    let [mut h1, mut h2] = kit.pair(["h1", "h2"], &[(&package(), Path::new(PACKAGE))]).unwrap();
    let before = both([&mut h1, &mut h2], |host| {
        install(host, if host.name() == "h1" { "10.77.1.1" } else { "10.77.1.2" })
    });

    run(&mut h1, "hopsack init");
    let token = run(&mut h1, "hopsack token create --quiet");
    run(&mut h2, "ping -c 1 -W 10 10.77.1.1");
    insist(&mut h2, &format!("hopsack join 10.77.1.1 --token {}", token.trim()));
    run(&mut h1, "hopsack network create web");
    wait::until("the network has arrived", SETTLED, || run(&mut h2, "hopsack network ls").contains("web"))
        .unwrap();
    attach(&mut h1, "c1", "");
    let c2 = attach(&mut h2, "c2", "--publish 80:8080");
    await_ping(&mut h1, "c1", &c2);
    // The unit lets the agent load the fast path's programs.
    for block in ["46771", "46772"] {
        let filters = run(&mut h1, &format!("tc filter show block {block}"));
        assert!(filters.contains("direct-action"), "{filters}");
    }
    // Another user's process has a namespace that nobody but root with all its rights may open.
    run(
        &mut h1,
        "setpriv --reuid 1000 --regid 1000 --clear-groups unshare -rn sleep 100000 >/dev/null & echo $! >/root/process",
    );
    let inside = "[ $(readlink /proc/$(cat /root/process)/ns/net) != $(readlink /proc/self/ns/net) ]";
    wait::until("the process has its namespace", SETTLED, || h1.exec(inside).unwrap().success()).unwrap();
    run(&mut h1, "hopsack attach pid:$(cat /root/process) --network web --name rootless");
    let status = run(&mut h1, "hopsack status");
    assert!(status.contains("all is well"), "{status}");

    // An upgrade: the agent is another one afterwards, and traffic goes on.
    run(&mut h2, NEWER);
    let agent = run(&mut h2, "systemctl show -P MainPID hopsack");
    run(&mut h1, &format!("ip netns exec c1 ping -i 0.2 -c 200 {c2} >/root/pings &"));
    run(&mut h2, "apt-get install -y /root/newer.deb");
    assert_eq!(run(&mut h2, "dpkg-query -W -f '${Version}' hopsack"), "99");
    assert_ne!(run(&mut h2, "systemctl show -P MainPID hopsack"), agent);
    wait::until("the new agent answers", SETTLED, || h2.exec("hopsack status").unwrap().success()).unwrap();
    let pings = insist(&mut h1, "grep loss /root/pings");
    assert!(pings.contains(" 0% packet loss"), "{pings}");

    run(&mut h1, "kill $(cat /root/process)");
    let after = both([&mut h1, &mut h2], |host| {
        run(host, "apt-get purge -y hopsack");
        run(host, "ip netns list | cut -d ' ' -f 1 | xargs -n 1 ip netns delete");
        look(host)
    });
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(difference(before, after), Vec::<String>::new());
    }
}
