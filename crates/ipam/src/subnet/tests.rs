use super::*;
use crate::testing::{cidr, ip, network};
use proptest::prelude::*;

fn pool(name: &str, range: &str) -> Pool {
    Pool::new(name.parse().unwrap(), cidr(range))
}

fn route(prefix: &str) -> Obstacle {
    Obstacle::of_route(&"h2".parse().unwrap(), cidr(prefix)).unwrap()
}

#[test]
fn subnets_follow_the_hosts_own_addresses_and_each_other() {
    let pools = [pool("default", "10.32.0.0/14"), pool("six", "fd00:1::/48")];
    assert_eq!(next_subnet(&pools, Family::V4, &[]).unwrap(), cidr("10.32.4.0/24"));
    assert_eq!(next_subnet(&pools, Family::V6, &[]).unwrap(), cidr("fd00:1:0:1::/64"));
    let taken: Vec<Obstacle> = Obstacle::of_network(&network(&["10.32.4.0/23"], &[])).collect();
    assert_eq!(next_subnet(&pools, Family::V4, &taken).unwrap(), cidr("10.32.6.0/24"));
}

#[test]
fn a_full_or_disabled_pool_makes_way_for_the_next() {
    let mut pools = [pool("a", "10.32.0.0/20"), pool("b", "10.64.0.0/20")];
    let full = [route("10.32.0.0/16")];
    assert_eq!(next_subnet(&pools, Family::V4, &full).unwrap(), cidr("10.64.2.0/24"));
    pools[1].disabled = true;
    let error = next_subnet(&pools, Family::V4, &full).unwrap_err().to_string();
    assert_eq!(error, "no free IPv4 subnet in pool a: add a pool, or give the network's subnet");
    assert_eq!(next_subnet(&pools, Family::V6, &[]), Err(IpamError::NoPool(Family::V6)));
}

#[test]
fn a_small_pool_is_cut_into_eighths() {
    assert_eq!(next_subnet(&[pool("s", "10.32.0.0/24")], Family::V4, &[]).unwrap(), cidr("10.32.0.32/27"));
}

#[test]
fn a_given_subnet_is_refused_with_what_it_meets() {
    let obstacles = [
        Obstacle::of_host_range(&pool("default", "10.32.0.0/14")),
        Obstacle::of_underlay(&"h3".parse().unwrap(), ip("192.168.7.3")),
        route("172.20.0.0/16"),
    ];
    let says = |subnet: &str| check_subnet(cidr(subnet), &obstacles).unwrap_err().to_string();
    assert!(says("10.32.1.0/24").contains("10.32.0.0/22, the hosts' own addresses in pool default"));
    assert!(says("192.168.7.0/24").contains("the underlay of host h3"));
    assert!(says("172.20.9.0/24").contains("172.20.0.0/16, a route of host h2: choose another range"));
    assert!(says("224.1.0.0/16").contains("multicast"));
    assert!(says("0.0.0.0/0").contains("choose a private range"));
    check_subnet(cidr("192.168.8.0/24"), &obstacles).unwrap();
}

#[test]
fn default_routes_are_no_obstacle_and_neither_are_halves_of_one() {
    for prefix in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0"] {
        assert_eq!(Obstacle::of_route(&"h1".parse().unwrap(), cidr(prefix)), None);
    }
}

#[test]
fn the_default_pool_meets_no_route() {
    assert_eq!(default_pool_v4(&[]).unwrap(), cidr("10.32.0.0/14"));
    assert_eq!(default_pool_v4(&[route("10.33.0.0/16")]).unwrap(), cidr("10.64.0.0/14"));
    assert_eq!(default_pool_v4(&[route("10.0.0.0/8")]).unwrap(), cidr("172.28.0.0/14"));
    let private = ["10.0.0.0/8", "172.16.0.0/12"].map(route);
    assert_eq!(default_pool_v4(&private).unwrap(), cidr("100.112.0.0/14"));
    let all = ["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"].map(route);
    let error = default_pool_v4(&all).unwrap_err().to_string();
    assert!(error.contains("--pool") && error.contains("100.64.0.0/10, a route of host h2"), "{error}");
}

#[test]
fn every_default_pool_would_be_accepted_if_it_were_given() {
    for (first, length) in DEFAULT_POOLS {
        check_pool(Cidr::around(first, length), &[]).unwrap();
        assert_eq!(Cidr::around(first, length).first(), first, "a candidate with host bits");
    }
    check_pool(default_pool_v6([1, 2, 3, 4, 5]), &[]).unwrap();
    assert_eq!(default_pool_v6([1, 2, 3, 4, 5]), cidr("fd01:203:405::/48"));
}

#[test]
fn a_pool_that_hosts_and_subnets_do_not_fit_is_refused() {
    let says = |range: &str| check_pool(cidr(range), &[]).unwrap_err().to_string();
    assert!(says("10.32.0.0/27").contains("/26") && says("fd00::/100").contains("/96"));
}

#[test]
fn a_host_that_has_routes_in_the_clusters_pools_does_not_join() {
    let pools = [pool("default", "10.32.0.0/14")];
    let networks = [network(&["192.168.50.0/24"], &[])];
    check_join(&[route("10.0.0.0/16")], &pools, &networks).unwrap();
    let says = |prefix: &str| check_join(&[route(prefix)], &pools, &networks).unwrap_err().to_string();
    let text = says("10.33.0.0/16");
    assert!(text.contains("10.33.0.0/16, a route of host h2 overlaps 10.32.0.0/14, pool default"), "{text}");
    assert!(says("192.168.0.0/16").contains("the subnet of network web"));
}

#[test]
fn hosts_get_addresses_until_the_pools_part_for_them_is_full() {
    let pool = pool("p", "10.32.0.0/26");
    let mut taken = Vec::new();
    while let Ok(next) = next_host_address(&pool, &taken) {
        taken.push(next);
    }
    assert_eq!(taken, (1..7).map(|n| IpAddr::from([10, 32, 0, n])).collect::<Vec<_>>());
    let error = next_host_address(&pool, &taken).unwrap_err().to_string();
    assert!(error.contains("pool p") && error.contains("10.32.0.0/29"), "{error}");
    taken.remove(2);
    assert_eq!(next_host_address(&pool, &taken).unwrap(), ip("10.32.0.3"));
}

proptest! {
    #[test]
    fn a_chosen_subnet_would_be_accepted_if_it_were_given(
        routes in prop::collection::vec((0..=255_u8, 0..=255_u8, 16..=28_u8), 0..40),
    ) {
        let pool = pool("p", "10.32.0.0/16");
        let mut obstacles = vec![Obstacle::of_host_range(&pool)];
        obstacles.extend(routes.iter().map(|(c, d, length)| {
            route(&Cidr::around(IpAddr::from([10, 32, *c, *d]), (*length).max(18)).to_string())
        }));
        match next_subnet([&pool], Family::V4, &obstacles) {
            Ok(subnet) => {
                prop_assert!(pool.cidr.covers(&subnet));
                prop_assert_eq!(check_subnet(subnet, &obstacles), Ok(()));
            }
            Err(_) => {
                for c in 0..=255 {
                    let subnet = Cidr::around(IpAddr::from([10, 32, c, 0]), 24);
                    prop_assert!(check_subnet(subnet, &obstacles).is_err(), "{} was free", subnet);
                }
            }
        }
    }
}
