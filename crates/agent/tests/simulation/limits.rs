//! What runs out or is missing: certificates that grow old, a kernel without VXLAN.

use crate::world::{H1, H2, H3, World, play};
use hopsack_agent::trust::authority::HOST_LIFETIME;
use hopsack_api::Api;
use hopsack_types::PathKind;

const SEED: u64 = 31;

fn certificates(world: &World) -> Vec<Vec<u8>> {
    world.hosts.iter().map(|host| host.member().credentials.certificate().to_vec()).collect()
}

#[test]
fn certificates_are_renewed_at_half_of_their_life_and_not_before() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let first = certificates(&world);
        let half = u64::try_from(HOST_LIFETIME).unwrap() / 2;
        // A day earlier nothing is due; a host's rounds are seconds apart.
        world.around.clock.set_forward(half - 2 * 24 * 3600);
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        assert_eq!(certificates(&world), first);
        world.around.clock.set_forward(2 * 24 * 3600);
        world
            .until("every host has another certificate", |world| {
                certificates(world).iter().zip(&first).all(|(now, before)| now != before)
            })
            .await;
        world.token(H3, 3600, None).await.unwrap();
        world
    });
}

#[test]
fn a_member_whose_kernel_has_lost_vxlan_says_so_and_reaches_its_own_segment() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        world.hosts[H1].crash().await;
        world.hosts[H1].features.vxlan = false;
        world.hosts[H1].start().await.unwrap();
        world
            .until("the segment is reached without a tunnel", |world| {
                world.hosts[H1]
                    .member()
                    .paths
                    .explain(world.hosts[H2].member().identity.host)
                    .is_some_and(|status| status.choice.is_some_and(|choice| choice.kind == PathKind::Direct))
            })
            .await;
        let far = world.hosts[H3].member().identity.host;
        assert_eq!(world.hosts[H1].member().paths.explain(far).and_then(|status| status.choice), None);
        let faults = world.hosts[H1].api().status().await.unwrap().faults;
        let told = "this kernel has no vxlan, so only hosts of one segment reach each other: load or build the module vxlan";
        assert!(faults.iter().any(|fault| fault.text.starts_with(told)), "{faults:?}");
        world
            .until("the device of tunnels is gone", |world| {
                world.hosts[H1].kernel.state().links.keys().all(|link| link.as_str() != "hopvxlan")
            })
            .await;
        world
    });
}
