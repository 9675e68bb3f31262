//! The table as text: shown to people as a whole, and understood by the kernel.

use crate::cluster::{ALL, H1, H2, H3, seen_by, view};
use hopsack_lab::require;
use hopsack_nft::{Nft, render_table};
use hopsack_plan::{Features, plan};
use hopsack_types::firewall::Firewall;
use nix::sched::{CloneFlags, unshare};

#[test]
fn the_table_of_a_small_cluster_is_as_it_was_reviewed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plans/golden/h1.nft");
    let rendered = render_table(&plan(&view(), &ALL).firewall);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &rendered).unwrap();
    }
    let reviewed = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        rendered, reviewed,
        "if the change is meant, run again with BLESS=1 and review the difference"
    );
}

/// Runs a test on a thread in a fresh network namespace.
fn in_namespace(test: impl FnOnce(&Nft) + Send) {
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            test(&Nft::find().unwrap());
        });
        thread.join()
    });
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_kernel_takes_the_table_of_every_host_and_gives_it_back() {
    require!(Root, Nft);
    in_namespace(|nft| {
        let mut before = Firewall::default();
        let without_v6 = Features { ipv6: false, ..ALL };
        for (me, features) in [(H1, ALL), (H2, ALL), (H3, ALL), (H1, without_v6), (H3, ALL)] {
            let desired = plan(&seen_by(me), &features).firewall;
            nft.apply(&before, &desired).unwrap();
            before = nft.observe().unwrap();
            assert_eq!(before, desired);
        }
    });
}
