//! Networks in Docker's lists: made, copied to all hosts, refused, removed.

use super::*;
use hopsack_lab::require;

/// In which a network that was made on one host is usable on all.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_network_made_on_one_host_is_on_all_within_a_second_with_its_name_labels_and_subnets() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.docker("h1", &format!("{CREATE} --subnet 10.50.0.0/24 --label tier=front web"));
    engines.await_network("web", AT_ONCE);
    engines.docker("h2", &format!("{CREATE} --ipv6 --subnet 10.51.0.0/24 --subnet fd51::/64 dual"));
    engines.await_network("dual", AT_ONCE);
    engines.docker("h3", &format!("{CREATE} free"));
    engines.await_network("free", AT_ONCE);

    let inspect = |host: &str, network: &str| {
        let format = "{{.Driver}} {{.IPAM.Driver}} {{.EnableIPv6}} {{.Labels}}{{range .IPAM.Config}} {{.Subnet}}{{end}}";
        engines.host(host).docker(&["network", "inspect", "-f", format, network]).unwrap()
    };
    for host in HOSTS {
        assert_eq!(inspect(host, "web"), "hopsack hopsack false map[tier:front] 10.50.0.0/24");
        assert_eq!(inspect(host, "dual"), "hopsack hopsack true map[] 10.51.0.0/24 fd51::/64");
        assert_eq!(inspect(host, "free"), inspect("h3", "free"));
        let known = engines.scene.hopsack(host, &["network", "ls"]);
        for name in ["web", "dual", "free"] {
            assert!(known.contains(name), "{host}: {known}");
        }
    }
    // A subnet that nobody gave comes out of a pool.
    assert!(inspect("h3", "free").contains(" 10.32."), "{}", inspect("h3", "free"));

    // Removed on any host, it is gone from all.
    for (host, network) in [("h1", "web"), ("h1", "dual"), ("h3", "free")] {
        engines.docker(host, &format!("network rm {network}"));
        engines.await_no_network(network);
    }
    wait::until("no network to be left", SETTLED, || {
        !engines.scene.hopsack("h2", &["network", "ls"]).contains("docker")
    })
    .unwrap();
    engines.end();
}

#[test]
fn a_network_in_use_on_another_host_does_not_vanish() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::cluster();
    engines.network("h1", "--label tier=front web");
    engines.run("h1", "c1", "--net web");
    engines.run("h2", "c2", "--net web");
    let address = engines.address("h2", "c2", "web");
    let refused = engines.refused("h1", "network rm web");
    assert!(refused.contains("active endpoints"), "{refused}");

    // Docker on h3 has nothing in it and removes its copy whatever we answer, so the copy comes back.
    let before = engines.docker("h3", "network ls -q --filter name=web");
    engines.docker("h3", "network rm web");
    wait::until("web to be back on h3", SETTLED, || {
        let now = engines.docker("h3", "network ls -q --filter name=web");
        !now.is_empty() && now != before
    })
    .unwrap();
    assert!(engines.pings("h1", "c1", address));
    engines.run("h3", "c3", "--net web");
    engines.await_ping("h3", "c3", address);
    assert_eq!(engines.docker("h3", "network inspect -f {{.Labels}} web"), "map[tier:front]");

    for (host, container) in [("h1", "c1"), ("h2", "c2"), ("h3", "c3")] {
        engines.docker(host, &format!("rm -f {container}"));
    }
    engines.docker("h3", "network rm web");
    engines.await_no_network("web");
    engines.end();
}

#[test]
fn what_cannot_be_made_is_refused_with_words_that_help() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::hosts();
    let refused = engines.refused("h1", &format!("{CREATE} web"));
    assert!(refused.contains("hopsack init"), "{refused}");
    engines.scene.form();

    let refused = engines.refused("h1", "network create -d hopsack web");
    assert!(refused.contains("docker network create -d hopsack --ipam-driver hopsack"), "{refused}");
    engines.network("h1", "--subnet 10.50.0.0/24 web");
    let cases = [
        ("--subnet 10.51.0.1/24", "did you mean 10.51.0.0/24?"),
        ("--subnet 10.50.0.0/25", "overlaps 10.50.0.0/24, the subnet of network web"),
        ("--subnet 10.77.2.0/24", "the underlay of host h3"),
        ("--subnet 172.17.0.0/24", "a route of host"),
    ];
    for (options, words) in cases {
        for host in ["h1", "h3"] {
            let refused = engines.refused(host, &format!("{CREATE} {options} other"));
            assert!(refused.contains(words), "{options} on {host}: {refused}");
        }
    }
    // The name is taken on every host.
    let refused = engines.refused("h2", &format!("{CREATE} web"));
    assert!(refused.contains("web already exists"), "{refused}");
    // The addresses of a network cannot be had without it.
    engines.docker("h1", "network create --ipam-driver hopsack bridged");
    let refused = engines.refused("h1", &format!("run --rm --net bridged {IMAGE} true"));
    assert!(refused.contains("docker network create -d hopsack --ipam-driver hopsack"), "{refused}");
    for host in HOSTS {
        assert_eq!(engines.networks(host), ["web"], "{host}");
        assert_eq!(engines.endpoints(host), 0, "{host}");
    }
    engines.end();
}

#[test]
fn a_host_that_joins_later_gets_all_networks() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let engines = Engines::hosts();
    let h1 = engines.host("h1");
    h1.run(&["hopsack", "init"]).unwrap();
    engines.docker("h1", &format!("{CREATE} --label tier=front web"));
    engines.docker("h1", &format!("{CREATE} --ipv6 dual"));
    engines.run("h1", "c1", "--net web");
    let address = engines.address("h1", "c1", "web");
    for host in ["h2", "h3"] {
        let to = h1.address().unwrap().to_string();
        engines.host(host).run(&["hopsack", "join", &to, "--token", &engines.scene.token()]).unwrap();
        wait::until(&format!("the networks to be on {host}"), SETTLED, || {
            engines.lists(host, "web") && engines.lists(host, "dual")
        })
        .unwrap();
        assert_eq!(engines.docker(host, "network inspect -f {{.Labels}} web"), "map[tier:front]");
        engines.run(host, "c2", "--net web");
        engines.await_ping(host, "c2", address);
    }
    engines.end();
}
