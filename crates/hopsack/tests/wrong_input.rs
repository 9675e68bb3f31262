//! What wrong command lines get: one line on standard error, word for word, and status 2. Nothing is asked of an agent.
//!
//! What an agent refuses is in `e2e/refusals.rs`, what is wrong in files of resources in `wrong_yaml.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hopsack");

/// Words to type after `hopsack`, separated by blanks, and what comes after `error: `.
const WRONG: &[(&str, &str)] = &[
    // Commands and options that there are not.
    (
        "netwrk ls",
        "unrecognized subcommand 'netwrk'; a similar subcommand exists: 'network'; see `hopsack --help`",
    ),
    (
        "network list",
        "unrecognized subcommand 'list'; a similar subcommand exists: 'ls'; see `hopsack network --help`",
    ),
    ("network ls extra", "unexpected argument 'extra' found; see `hopsack network ls --help`"),
    ("status --json", "unexpected argument '--json' found; see `hopsack status --help`"),
    ("status -o yml", "invalid value 'yml' for '--output <FORMAT>' [possible values: text, json]"),
    (
        "status -o",
        "a value is required for '--output <FORMAT>' but none was supplied [possible values: text, json]",
    ),
    (
        "--sokcet /s status",
        "unexpected argument '--sokcet' found; a similar argument exists: '--socket'; see `hopsack --help`",
    ),
    (
        "init --pol 10.32.0.0/14",
        "unexpected argument '--pol' found; a similar argument exists: '--pool'; see `hopsack init --help`",
    ),
    ("token mak", "unrecognized subcommand 'mak'; see `hopsack token --help`"),
    (
        "host remove h2",
        "unrecognized subcommand 'remove'; a similar subcommand exists: 'rm'; see `hopsack host --help`",
    ),
    (
        "endpoint list",
        "unrecognized subcommand 'list'; a similar subcommand exists: 'ls'; see `hopsack endpoint --help`",
    ),
    (
        "lab start",
        "unrecognized subcommand 'start'; a similar subcommand exists: 'status'; see `hopsack lab --help`",
    ),
    // What has to be there.
    (
        "join",
        "the following required arguments were not provided: <--token <TOKEN>|--token-file <FILE>>, <ADDRESS>; see `hopsack join --help`",
    ),
    (
        "join 192.0.2.1",
        "the following required arguments were not provided: <--token <TOKEN>|--token-file <FILE>>; see `hopsack join --help`",
    ),
    (
        "network create",
        "the following required arguments were not provided: <NAME>; see `hopsack network create --help`",
    ),
    (
        "network rm",
        "the following required arguments were not provided: <NETWORK>...; see `hopsack network rm --help`",
    ),
    (
        "network set web",
        "the following required arguments were not provided: <--isolation <ISOLATION>|--label <KEY=VALUE>|--no-label <KEY>>; see `hopsack network set --help`",
    ),
    (
        "network inspect",
        "the following required arguments were not provided: <NETWORK>; see `hopsack network inspect --help`",
    ),
    (
        "attach",
        "the following required arguments were not provided: --network <NETWORK>, <NAMESPACE>; see `hopsack attach --help`",
    ),
    (
        "attach c1",
        "the following required arguments were not provided: --network <NETWORK>; see `hopsack attach --help`",
    ),
    (
        "detach c1",
        "the following required arguments were not provided: --network <NETWORK>; see `hopsack detach --help`",
    ),
    ("host rm", "the following required arguments were not provided: <HOST>; see `hopsack host rm --help`"),
    (
        "token revoke",
        "the following required arguments were not provided: <ID>...; see `hopsack token revoke --help`",
    ),
    // What cannot be together.
    (
        "join 192.0.2.1 --token a --token-file b",
        "the argument '--token <TOKEN>' cannot be used with '--token-file <FILE>'; see `hopsack join --help`",
    ),
    (
        "token create --quiet -o json",
        "the argument '--quiet' cannot be used with '--output <FORMAT>'; see `hopsack token create --help`",
    ),
    // Names.
    (
        "init --name H1",
        "invalid value 'H1' for '--name <NAME>': host name \"H1\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    ("init --name -h", "a value is required for '--name <NAME>' but none was supplied"),
    (
        "init --name=-h1",
        "invalid value '-h1' for '--name <NAME>': host name \"-h1\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    (
        "init --name h_1",
        "invalid value 'h_1' for '--name <NAME>': host name \"h_1\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    (
        "init --name aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "invalid value 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' for '--name <NAME>': host name \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    (
        "network create -web",
        "unexpected argument '-w' found; to pass '-w' as a value, use '-- -w'; see `hopsack network create --help`",
    ),
    (
        "network create we/b",
        "invalid value 'we/b' for '<NAME>': network name \"we/b\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "network create .web",
        "invalid value '.web' for '<NAME>': network name \".web\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "attach c1 --network we/b",
        "invalid value 'we/b' for '--network <NETWORK>': network name \"we/b\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "attach c1 --network web --interface eth0/1",
        "invalid value 'eth0/1' for '--interface <INTERFACE>': interface name \"eth0/1\" is not valid: use 1 to 15 characters without '/', ':' or white space, and not '.' or '..'",
    ),
    (
        "attach c1 --network web --interface interface-too-long",
        "invalid value 'interface-too-long' for '--interface <INTERFACE>': interface name \"interface-too-long\" is not valid: use 1 to 15 characters without '/', ':' or white space, and not '.' or '..'",
    ),
    (
        "attach c1 --network web --interface .",
        "invalid value '.' for '--interface <INTERFACE>': interface name \".\" is not valid: use 1 to 15 characters without '/', ':' or white space, and not '.' or '..'",
    ),
    (
        "attach . --network web",
        "invalid value '.' for '<NAMESPACE>': write the name of a namespace as `ip netns` lists it, a path, or pid:1234",
    ),
    (
        "attach pid:0 --network web",
        "invalid value 'pid:0' for '<NAMESPACE>': write a process id after pid:, like pid:1234",
    ),
    (
        "attach pid:x --network web",
        "invalid value 'pid:x' for '<NAMESPACE>': write a process id after pid:, like pid:1234",
    ),
    ("host rm ''", "a value is required for '<HOST>' but none was supplied"),
    // Prefixes and addresses.
    (
        "init --pool 10.32.0.1/14",
        "invalid value '10.32.0.1/14' for '--pool <CIDR>': 10.32.0.1/14 has host bits set: did you mean 10.32.0.0/14?",
    ),
    (
        "init --pool 10.32.0.0",
        "invalid value '10.32.0.0' for '--pool <CIDR>': \"10.32.0.0\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "init --pool 10.32.0.0/33",
        "invalid value '10.32.0.0/33' for '--pool <CIDR>': \"10.32.0.0/33\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "init --pool 10.32.0/14",
        "invalid value '10.32.0/14' for '--pool <CIDR>': \"10.32.0/14\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "init --pool fd00::/129",
        "invalid value 'fd00::/129' for '--pool <CIDR>': \"fd00::/129\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "init --pool fd00::1/48",
        "invalid value 'fd00::1/48' for '--pool <CIDR>': fd00::1/48 has host bits set: did you mean fd00::/48?",
    ),
    (
        "init --pool web",
        "invalid value 'web' for '--pool <CIDR>': \"web\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "init --advertise 192.0.2",
        "invalid value '192.0.2' for '--advertise <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "init --advertise 192.0.2.1/24",
        "invalid value '192.0.2.1/24' for '--advertise <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "init --advertise h1",
        "invalid value 'h1' for '--advertise <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "network create web --subnet 10.40.0.1/24",
        "invalid value '10.40.0.1/24' for '--subnet <CIDR>': 10.40.0.1/24 has host bits set: did you mean 10.40.0.0/24?",
    ),
    (
        "network create web --subnet 10.40.0.0/",
        "invalid value '10.40.0.0/' for '--subnet <CIDR>': \"10.40.0.0/\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --subnet /24",
        "invalid value '/24' for '--subnet <CIDR>': \"/24\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --subnet 10.40.0.0/-1",
        "invalid value '10.40.0.0/-1' for '--subnet <CIDR>': \"10.40.0.0/-1\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --subnet 10.40.0.0/024",
        "invalid value '10.40.0.0/024' for '--subnet <CIDR>': \"10.40.0.0/024\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --subnet 010.40.0.0/24",
        "invalid value '010.40.0.0/24' for '--subnet <CIDR>': \"010.40.0.0/24\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --subnet fd00:::/64",
        "invalid value 'fd00:::/64' for '--subnet <CIDR>': \"fd00:::/64\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --ip-range 10.40.0.64",
        "invalid value '10.40.0.64' for '--ip-range <CIDR>': \"10.40.0.64\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "network create web --gateway 10.40.0.1/24",
        "invalid value '10.40.0.1/24' for '--gateway <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "network create web --gateway gw",
        "invalid value 'gw' for '--gateway <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "network create web --aux-address 10.40.0.7",
        "invalid value '10.40.0.7' for '--aux-address <NAME=ADDRESS>': write a name, '=' and an address, like router=10.32.4.9",
    ),
    (
        "network create web --aux-address router=",
        "invalid value 'router=' for '--aux-address <NAME=ADDRESS>': write a name, '=' and an address, like router=10.32.4.9",
    ),
    (
        "network create web --aux-address router=10.40.0.7/24",
        "invalid value 'router=10.40.0.7/24' for '--aux-address <NAME=ADDRESS>': write a name, '=' and an address, like router=10.32.4.9",
    ),
    (
        "attach c1 --network web --ip 10.40.0.0/24",
        "invalid value '10.40.0.0/24' for '--ip <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "attach c1 --network web --ip 10.40.0.256",
        "invalid value '10.40.0.256' for '--ip <ADDRESS>': write an IP address, like 10.32.4.9 or fd00::9",
    ),
    (
        "join 192.0.2 --token x",
        "invalid value '192.0.2' for '<ADDRESS>': write an address, with a port if it is not 4677, like 192.0.2.1, 192.0.2.1:4677 or [2001:db8::1]:4677",
    ),
    (
        "join 192.0.2.1:x --token x",
        "invalid value '192.0.2.1:x' for '<ADDRESS>': write an address, with a port if it is not 4677, like 192.0.2.1, 192.0.2.1:4677 or [2001:db8::1]:4677",
    ),
    (
        "join 192.0.2.1:70000 --token x",
        "invalid value '192.0.2.1:70000' for '<ADDRESS>': write an address, with a port if it is not 4677, like 192.0.2.1, 192.0.2.1:4677 or [2001:db8::1]:4677",
    ),
    (
        "join [fd00::1 --token x",
        "invalid value '[fd00::1' for '<ADDRESS>': write an address, with a port if it is not 4677, like 192.0.2.1, 192.0.2.1:4677 or [2001:db8::1]:4677",
    ),
    (
        "join h?1 --token x",
        "invalid value 'h?1' for '<ADDRESS>': write an address, with a port if it is not 4677, like 192.0.2.1, 192.0.2.1:4677 or [2001:db8::1]:4677",
    ),
    // Numbers and durations.
    (
        "token create --ttl 24",
        "invalid value '24' for '--ttl <TTL>': write a number and a unit, s, m, h or d, like 24h",
    ),
    (
        "token create --ttl 0s",
        "invalid value '0s' for '--ttl <TTL>': write a number and a unit, s, m, h or d, like 24h",
    ),
    (
        "token create --ttl 1w",
        "invalid value '1w' for '--ttl <TTL>': write a number and a unit, s, m, h or d, like 24h",
    ),
    (
        "token create --ttl -1h",
        "invalid value '-1h' for '--ttl <TTL>': write a number and a unit, s, m, h or d, like 24h",
    ),
    (
        "token create --ttl 99999999999999999d",
        "invalid value '99999999999999999d' for '--ttl <TTL>': write a number and a unit, s, m, h or d, like 24h",
    ),
    ("token create --uses 0", "invalid value '0' for '--uses <N>': write a number from 1 to 4294967295"),
    ("token create --uses -1", "invalid value '-1' for '--uses <N>': write a number from 1 to 4294967295"),
    (
        "token create --uses many",
        "invalid value 'many' for '--uses <N>': write a number from 1 to 4294967295",
    ),
    (
        "token create --uses 4294967296",
        "invalid value '4294967296' for '--uses <N>': write a number from 1 to 4294967295",
    ),
    (
        "events --since yesterday",
        "invalid value 'yesterday' for '--since <AGO>': write a number and a unit, s, m, h or d, like 24h",
    ),
    (
        "agent --control-port 0",
        "invalid value '0' for '--control-port <PORT>': write a port, a number from 1 to 65535",
    ),
    (
        "agent --control-port 65536",
        "invalid value '65536' for '--control-port <PORT>': write a port, a number from 1 to 65535",
    ),
    (
        "agent --control-port tcp",
        "invalid value 'tcp' for '--control-port <PORT>': write a port, a number from 1 to 65535",
    ),
    (
        "agent --log hopsack=loud",
        "invalid value 'hopsack=loud' for '--log <FILTER>': error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
    ),
    (
        "agent --log-format xml",
        "invalid value 'xml' for '--log-format <FORMAT>' [possible values: text, json]",
    ),
    // Labels and options.
    (
        "network create web --label role",
        "invalid value 'role' for '--label <KEY=VALUE>': write a key, '=' and a value, like role=web",
    ),
    (
        "network create web --label =web",
        "invalid value '=web' for '--label <KEY=VALUE>': write a key, '=' and a value, like role=web",
    ),
    (
        "network create web --opt mtu",
        "invalid value 'mtu' for '--opt <KEY=VALUE>': write a key, '=' and a value, like role=web",
    ),
    (
        "network create web --opt mtu=1400",
        "--opt: unknown option mtu; known: hopsack.isolation, hopsack.gateway, com.docker.network.driver.mtu",
    ),
    (
        "network create web --opt hopsack.isolaton=none",
        "--opt: unknown option hopsack.isolaton; did you mean hopsack.isolation?",
    ),
    (
        "network create web --opt hopsack.isolation=off",
        "--opt: hopsack.isolation=off is not valid: write full (only its own containers) or none (all networks that say none)",
    ),
    (
        "network create web --opt hopsack.gateway=me",
        "--opt: hopsack.gateway=me is not valid: write hopsack or docker (a second interface on Docker's gateway bridge)",
    ),
    (
        "network create web --opt com.docker.network.driver.mtu=big",
        "--opt: com.docker.network.driver.mtu=big is not valid: write bytes, from 576 (with IPv6: 1280) to 65535",
    ),
    (
        "network create web --opt com.docker.network.driver.mtu=0",
        "--opt: com.docker.network.driver.mtu=0 is not valid: write bytes, from 576 (with IPv6: 1280) to 65535",
    ),
    (
        "network create web --isolation half",
        "invalid value 'half' for '--isolation <ISOLATION>' [possible values: none, full]",
    ),
    (
        "network set web --isolation half",
        "invalid value 'half' for '--isolation <ISOLATION>' [possible values: none, full]",
    ),
    (
        "network set web --label role",
        "invalid value 'role' for '--label <KEY=VALUE>': write a key, '=' and a value, like role=web",
    ),
    (
        "attach c1 --network web --label role",
        "invalid value 'role' for '--label <KEY=VALUE>': write a key, '=' and a value, like role=web",
    ),
    // Ports.
    (
        "attach c1 --network web -p 0",
        "invalid value '0' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p 65536",
        "invalid value '65536' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p http",
        "invalid value 'http' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p 80/icmp",
        "invalid value '80/icmp' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p 80:",
        "invalid value '80:' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p :80:",
        "invalid value ':80:' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p 1.2.3:80:80",
        "invalid value '1.2.3:80:80' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    (
        "attach c1 --network web -p 90-80:80",
        "invalid value '90-80:80' for '--publish <PORTS>': write [ADDRESS:][PORT[-PORT]:]PORT[/tcp|udp|sctp], like 8080:80, 127.0.0.1:53:53/udp or [::1]::80",
    ),
    // Tokens.
    (
        "join 192.0.2.1 --token x",
        "this is not a join token: copy the whole of what `hopsack token create` printed (it begins with hopsack1.)",
    ),
    (
        "join 192.0.2.1 --token hopsack2.a.b.c",
        "this is not a join token: copy the whole of what `hopsack token create` printed (it begins with hopsack1.)",
    ),
    (
        "join 192.0.2.1 --token hopsack1.",
        "this is not a join token: copy the whole of what `hopsack token create` printed (it begins with hopsack1.)",
    ),
];

fn told(line: &str) -> (Option<i32>, String, String) {
    let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
    let output =
        Command::new(PROGRAM).args(words).args(["--socket", "/nowhere/api.sock"]).env_clear().output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_wrong_command_line_is_refused_in_one_line_with_these_words() {
    let mut wrong = Vec::new();
    for (line, expected) in WRONG {
        let told = told(line);
        if told != (Some(2), String::new(), format!("error: {expected}\n")) {
            wrong.push(format!("{line}\n  said {told:?}\n  not  {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
