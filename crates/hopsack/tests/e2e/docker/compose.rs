//! `docker-compose`: one project over several hosts, each of which brings up its part.

use super::*;
use hopsack_lab::{Output, require};

/// The whole project, for the hosts that have the same file.
const PROJECT: &str = r#"
version: "3.9"
services:
  web:
    image: bb
    command: sleep 100000
    networks:
      front: { ipv4_address: 10.60.1.10, ipv6_address: "fd60::1:10", aliases: [www] }
      back:
  app:
    image: bb
    command: httpd -f -p 80 -h /etc
    ports: ["8088:80"]
    networks:
      front: { aliases: [site] }
      shared:
  db:
    image: bb
    command: sleep 100000
    networks:
      front: { ipv4_address: 10.60.1.20 }
      back:
      shared:
networks:
  front:
    driver: hopsack
    driver_opts: { hopsack.gateway: hopsack, hopsack.isolation: full }
    enable_ipv6: true
    labels: { tier: outer }
    ipam:
      driver: hopsack
      config: [{ subnet: 10.60.0.0/16, ip_range: 10.60.2.0/24, gateway: 10.60.0.5 }, { subnet: "fd60::/64" }]
  back:
    driver: hopsack
    driver_opts: { hopsack.isolation: none }
    ipam: { driver: hopsack }
  shared:
    external: true
"#;

/// Another file of the same project, for a host that has a part of its own.
const PART: &str = r#"
version: "3.9"
services:
  cache:
    image: bb
    command: sleep 100000
    networks: [back]
networks:
  back:
    driver: hopsack
    driver_opts: { hopsack.isolation: none }
    ipam: { driver: hopsack }
"#;

impl Engines {
    /// Runs `docker-compose LINE` for the project `shop` on a host; it has to succeed.
    fn compose(&self, host: &str, file: &str, line: &str) -> Output {
        let argv = ["docker-compose", "-p", "shop", "-f", "-"].into_iter().chain(line.split(' '));
        let argv: Vec<&str> = argv.collect();
        self.host(host)
            .program(&argv)
            .input(file)
            .patience(Duration::from_secs(90))
            .output()
            .unwrap()
            .checked()
            .unwrap()
    }

    /// Whether a service's container gets an answer, asked for through Compose.
    fn await_answer(&self, host: &str, service: &str, to: &str) {
        let container = format!("shop_{service}_1");
        wait::until(&format!("{service} on {host} to reach {to}"), SETTLED, || {
            let ping = ["docker", "exec", &container, "ping", "-c", "1", "-W", "1", to];
            self.host(host).exec(&ping).unwrap().success()
        })
        .unwrap();
    }
}

#[test]
fn one_project_runs_on_two_hosts_that_have_the_same_file() {
    require!(Root, Docker, Busybox, Vxlan, Nft, Compose);
    let engines = Engines::cluster();
    engines.network("h3", "shared");
    engines.compose("h1", PROJECT, "up -d web app");
    for network in ["shop_front", "shop_back"] {
        engines.await_network(network, SETTLED);
    }
    // Compose refuses a network that is not its own or not as in its file.
    engines.compose("h2", PROJECT, "up -d db");
    engines.compose("h3", PART, "up -d");
    for (host, file, service) in [("h1", PROJECT, "web"), ("h2", PROJECT, "db"), ("h3", PART, "cache")] {
        let listed = engines.compose(host, file, "ps").stdout;
        assert!(listed.lines().any(|line| line.contains(service) && line.contains(" Up")), "{listed}");
        let labels = engines.docker(host, "network inspect -f {{.Labels}} shop_back");
        for label in ["com.docker.compose.network:back", "com.docker.compose.project:shop"] {
            assert!(labels.contains(label), "{host}: {labels}");
        }
    }

    // Addresses as the file says, and everybody reaches everybody of a network.
    let web = engines.addresses("h1", "shop_web_1", "shop_front");
    assert_eq!(web, ["10.60.1.10".parse::<IpAddr>().unwrap(), "fd60::1:10".parse().unwrap()]);
    let app = engines.addresses("h1", "shop_app_1", "shop_front")[0].to_string();
    assert!(app.starts_with("10.60.2."), "{app} is not of the file's ip_range");
    for host in HOSTS {
        let gateways = "network inspect -f {{range.IPAM.Config}}{{.Gateway}},{{end}} shop_front";
        assert!(engines.docker(host, gateways).starts_with("10.60.0.5,"), "{host}");
    }
    engines.await_answer("h2", "db", "10.60.0.5");
    let cache = engines.address("h3", "shop_cache_1", "shop_back").to_string();
    let shared = engines.address("h1", "shop_app_1", "shared").to_string();
    for to in ["10.60.1.10", "fd60::1:10", &app, &cache, &shared] {
        engines.await_answer("h2", "db", to);
    }
    engines.await_answer("h1", "web", "10.60.1.20");
    engines.await_answer("h3", "cache", &engines.address("h1", "shop_web_1", "shop_back").to_string());
    for name in ["www", "site"] {
        engines.await_answer("h1", "app", name);
    }
    wait::until("the published port to answer", SETTLED, || engines.fetches("h3", "h1", "8088")).unwrap();
    engines.compose("h2", PROJECT, "exec -T db ping -c 1 -W 1 10.60.1.10");

    // Nothing has changed, so nothing is made anew.
    let ids = |host| engines.docker(host, "ps -q --no-trunc");
    let before = ["h1", "h2"].map(ids);
    for (host, services) in [("h1", "up -d web app"), ("h2", "up -d db")] {
        let said = engines.compose(host, PROJECT, services).stderr;
        assert!(said.contains("up-to-date") && !said.contains("Recreating"), "{said}");
        assert!(!said.contains("has changed"), "{said}");
    }
    assert_eq!(["h1", "h2"].map(ids), before);

    // One host's part goes, and with it, as Compose believes, the networks. The others have them still.
    engines.compose("h2", PROJECT, "down -t 0");
    for network in ["shop_front", "shop_back", "shared"] {
        engines.await_network(network, SETTLED);
    }
    engines.await_answer("h1", "web", &cache);
    engines.compose("h2", PROJECT, "up -d db");
    engines.await_answer("h2", "db", "fd60::1:10");
    engines.await_answer("h2", "db", &cache);

    for (host, file) in [("h3", PART), ("h2", PROJECT), ("h1", PROJECT)] {
        engines.compose(host, file, "down -t 0");
    }
    for network in ["shop_front", "shop_back"] {
        engines.await_no_network(network);
    }
    assert_eq!(engines.networks("h1"), ["shared"]);
    engines.end();
}
