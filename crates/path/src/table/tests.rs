//! The table against a model of two hosts' underlay: what passes, how large, how fast.

use super::*;
use PathKind::{Direct, Vxlan};
use proptest::prelude::*;

const PEER: HostId = HostId::from_bytes([7; 16]);
const TICK: Duration = Duration::from_millis(20);

/// What the underlay passes: the largest packet of each kind, and the round trip.
#[derive(Clone, Copy)]
struct Underlay {
    direct: Option<u32>,
    vxlan: Option<u32>,
    rtt: Duration,
}

const FINE: Underlay = Underlay { direct: Some(1500), vxlan: Some(1450), rtt: Duration::from_millis(1) };
const NONE: Underlay = Underlay { direct: None, vxlan: None, ..FINE };

struct World {
    table: PathTable,
    now: Duration,
    answers: Vec<(Duration, Probe)>,
    sent: u32,
    history: Vec<(Duration, Option<PathChoice>)>,
}

impl World {
    fn new(table: PathTable, reach: Reach) -> Self {
        let mut world =
            Self { table, now: Duration::from_secs(1000), answers: vec![], sent: 0, history: vec![] };
        world.table.set_peers(&BTreeMap::from([(PEER, reach)]));
        world.note();
        world
    }

    fn on_a_segment() -> Self {
        Self::new(PathTable::default(), Reach { direct: Some(1500), vxlan: Some(1450) })
    }

    fn note(&mut self) {
        let choice = self.table.choices().get(&PEER).copied();
        if self.history.last().is_none_or(|(_, last)| *last != choice) {
            self.history.push((self.now, choice));
        }
    }

    fn peer_sees(&mut self, kinds: &[PathKind]) {
        let usable = kinds.iter().map(|kind| (*kind, 1400)).collect();
        self.table.handle_fact(PEER, &PathFact { usable });
        self.note();
    }

    /// Lets time pass over an underlay that may lose packets by `lose(kind, number)`.
    fn run_losing(
        &mut self,
        time: Duration,
        underlay: Underlay,
        mut lose: impl FnMut(PathKind, u32) -> bool,
    ) {
        let end = self.now + time;
        while self.now < end {
            let (ready, later) = self.answers.drain(..).partition(|(at, _)| *at <= self.now);
            self.answers = later;
            for (at, Probe { peer, kind, sequence, .. }) in ready as Vec<(Duration, Probe)> {
                self.table.handle_answer(peer, kind, sequence, at.max(self.now - TICK));
            }
            for probe in self.table.due(self.now) {
                self.sent += 1;
                let largest = if probe.kind == Direct { underlay.direct } else { underlay.vxlan };
                if largest.is_some_and(|largest| probe.size <= largest) && !lose(probe.kind, self.sent) {
                    self.answers.push((self.now + underlay.rtt, probe));
                }
            }
            self.note();
            self.now += TICK;
        }
    }

    fn run(&mut self, time: Duration, underlay: Underlay) {
        self.run_losing(time, underlay, |_, _| false);
    }

    fn choice(&self) -> Option<(PathKind, u32)> {
        self.table.choices().get(&PEER).map(|choice| (choice.kind, choice.mtu))
    }

    fn reason(&self) -> Reason {
        self.table.explain(PEER).unwrap().reason
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn keep_alive_probes_are_counted_with_their_losses_and_those_that_try_a_size_are_not() {
    let mut world = World::on_a_segment();
    let narrow = Underlay { direct: Some(1300), ..FINE };
    world.run_losing(Duration::from_secs(30), narrow, |_, _| false);
    let count = |world: &World, kind| world.table.probe_counts()[&(PEER, kind)];
    let before = count(&world, Direct);
    assert!(before.sent > 20 && before.lost == 0, "{before:?}");
    world.run_losing(Duration::from_secs(30), narrow, |kind, _| kind == Direct);
    let after = count(&world, Direct);
    let (sent, lost) = (after.sent - before.sent, after.lost);
    assert!(lost > 20 && lost <= sent, "{lost} of {sent}");
    assert_eq!(count(&world, Vxlan).lost, 0);
}

#[test]
fn vxlan_is_used_from_the_first_moment() {
    let world = World::on_a_segment();
    assert_eq!(world.choice(), Some((Vxlan, 1450)));
    assert_eq!(world.reason(), Reason::JustStarted);
}

#[test]
fn direct_needs_our_answers_and_the_peers_word() {
    let mut world = World::on_a_segment();
    world.run(seconds(2), FINE);
    assert_eq!(world.choice(), Some((Vxlan, 1450)));
    assert_eq!(world.reason(), Reason::PeerDoesNotSeeDirect);
    world.peer_sees(&[Direct, Vxlan]);
    assert_eq!(world.choice(), Some((Direct, 1500)));
    assert_eq!(world.table.facts()[&PEER].usable, [(Direct, 1500), (Vxlan, 1450)]);

    let mut world = World::on_a_segment();
    world.peer_sees(&[Direct, Vxlan]);
    world.run(seconds(2), Underlay { direct: None, ..FINE });
    assert_eq!(world.choice(), Some((Vxlan, 1450)));
    assert_eq!(world.reason(), Reason::DirectNotAnswered);
}

#[test]
fn direct_is_found_within_half_a_second() {
    let mut world = World::on_a_segment();
    world.peer_sees(&[Direct]);
    world.run(Duration::from_millis(500), FINE);
    assert_eq!(world.choice(), Some((Direct, 1500)));
}

#[test]
fn a_direct_path_that_breaks_is_left_soon_and_taken_again_after_the_hold() {
    let mut world = World::on_a_segment();
    world.peer_sees(&[Direct, Vxlan]);
    world.run(seconds(5), FINE);
    world.run(Duration::from_millis(1700), Underlay { direct: None, ..FINE });
    assert_eq!(world.choice(), Some((Vxlan, 1450)));
    world.run(seconds(6), FINE);
    assert_eq!(world.choice(), Some((Direct, 1500)));
}

#[test]
fn a_peer_that_falls_silent_keeps_its_last_path_in_either_case() {
    for direct in [Some(1500), None] {
        let mut world = World::on_a_segment();
        world.peer_sees(&[Direct, Vxlan]);
        world.run(seconds(5), Underlay { direct, ..FINE });
        let before = world.choice();
        world.run(seconds(600), NONE);
        assert_eq!(world.choice(), before);
        assert!(!world.table.explain(PEER).unwrap().answered);
    }
}

#[test]
fn a_cut_between_an_answer_of_one_path_and_the_next_of_the_other_is_no_reason_to_change() {
    for moment in 0..200 {
        let mut world = World::on_a_segment();
        world.peer_sees(&[Direct, Vxlan]);
        world.run(seconds(5) + Duration::from_millis(50) * moment, FINE);
        // An answer over VXLAN still gets through, the one over direct does not.
        world.run(Duration::from_millis(150), Underlay { direct: None, ..FINE });
        world.run(seconds(5), NONE);
        assert_eq!(world.choice(), Some((Direct, 1500)), "moment {moment}");
    }
}

#[test]
fn a_peer_that_does_not_see_direct_any_more_is_believed_at_once() {
    let mut world = World::on_a_segment();
    world.peer_sees(&[Direct]);
    world.run(seconds(2), FINE);
    world.peer_sees(&[Vxlan]);
    assert_eq!(world.choice(), Some((Vxlan, 1450)));
}

#[test]
fn a_restart_keeps_the_choice_of_before_and_leaves_it_only_for_a_reason() {
    for kind in [Direct, Vxlan] {
        let last = PathChoice { kind, mtu: 1400 };
        let table = PathTable::adopting(BTreeMap::from([(PEER, last)]));
        let mut world = World::new(table, Reach { direct: Some(1500), vxlan: Some(1450) });
        world.run(seconds(30), Underlay { direct: Some(1400), vxlan: Some(1400), ..FINE });
        assert_eq!(world.history.len(), 1, "{:?}", world.history);
        assert_eq!(world.choice(), Some((kind, 1400)));
        world.peer_sees(&[Vxlan]);
        assert_eq!(world.choice().unwrap().0, Vxlan);
    }
}

#[test]
fn without_vxlan_there_is_no_path_before_direct_is_proven() {
    let mut world = World::new(PathTable::default(), Reach { direct: Some(1500), vxlan: None });
    assert_eq!((world.choice(), world.reason()), (None, Reason::NoVxlan));
    world.peer_sees(&[Direct]);
    world.run(seconds(1), FINE);
    assert_eq!(world.choice(), Some((Direct, 1500)));
}

#[test]
fn a_tunnel_that_is_not_answered_stays_in_use_and_says_so() {
    let mut world = World::new(PathTable::default(), Reach { direct: None, vxlan: Some(1450) });
    world.run(seconds(10), NONE);
    assert_eq!(world.choice(), Some((Vxlan, 1450)));
    assert_eq!(world.reason(), Reason::VxlanNotAnswered);
    world.run(seconds(3), FINE);
    assert_eq!(world.reason(), Reason::OtherSegment);
}

#[test]
fn the_first_losses_while_the_peer_comes_up_are_no_verdict_yet() {
    let mut world = World::new(PathTable::default(), Reach { direct: None, vxlan: Some(1450) });
    world.run(Duration::from_millis(150), NONE);
    assert_eq!(world.reason(), Reason::JustStarted);
    world.run(Duration::from_millis(150), FINE);
    assert_eq!(world.reason(), Reason::JustStarted);
    world.run(seconds(1), FINE);
    assert_eq!(world.reason(), Reason::OtherSegment);
}

#[test]
fn quiet_links_cost_little() {
    let mut world = World::on_a_segment();
    world.peer_sees(&[Direct]);
    world.run(seconds(10), FINE);
    let before = world.sent;
    world.run(seconds(100), FINE);
    assert!(world.sent - before < 180, "{} probes in 100 s", world.sent - before);
}

#[test]
fn nothing_is_due_before_the_time_that_was_told() {
    let mut world = World::on_a_segment();
    for _ in 0..300 {
        let wake = world.table.wakes_at().unwrap();
        if wake > world.now {
            let early = (wake - Duration::from_micros(1)).max(world.now);
            assert_eq!(world.table.due(early), []);
        }
        world.now = world.now.max(wake);
        for Probe { peer, kind, sequence, .. } in world.table.due(world.now) {
            world.table.handle_answer(peer, kind, sequence, world.now + TICK);
        }
        world.now += TICK;
    }
}

#[test]
fn a_slow_link_is_waited_for() {
    let mut world = World::on_a_segment();
    world.peer_sees(&[Direct]);
    let slow = Underlay { rtt: Duration::from_millis(450), ..FINE };
    world.run(seconds(20), slow);
    assert_eq!(world.choice(), Some((Direct, 1500)));
    assert_eq!(world.history.len(), 2, "{:?}", world.history);
    let rtt = world.table.explain(PEER).unwrap().rtt.unwrap();
    assert!((440..480).contains(&rtt.as_millis()), "{rtt:?}");
}

proptest! {
    #[test]
    fn random_loss_of_a_few_percent_changes_neither_path_nor_mtu(seed in any::<u64>()) {
        let mut world = World::on_a_segment();
        world.peer_sees(&[Direct]);
        world.run(seconds(5), FINE);
        let changes = world.history.len();
        let mut state = seed;
        world.run_losing(seconds(120), FINE, |_, _| {
            // Knuth's generator: any will do here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 100 < 2
        });
        prop_assert!(world.history.len() <= changes + 2, "{:?}", world.history);
    }

    #[test]
    fn the_mtu_of_both_kinds_is_found(direct in 576..1501u32, vxlan in 576..1451u32) {
        let mut world = World::on_a_segment();
        let underlay = Underlay { direct: Some(direct), vxlan: Some(vxlan), ..FINE };
        world.run(seconds(20), underlay);
        prop_assert_eq!(world.choice(), Some((Vxlan, vxlan)));
        world.peer_sees(&[Direct]);
        prop_assert_eq!(world.choice(), Some((Direct, direct)));
    }

    #[test]
    fn the_kind_never_changes_more_often_than_the_holds_allow(
        spells in proptest::collection::vec((any::<bool>(), 1..80u64), 1..30)
    ) {
        let mut world = World::on_a_segment();
        world.peer_sees(&[Direct]);
        for (direct, tenths) in spells {
            let direct = direct.then_some(1500);
            world.run(Duration::from_millis(tenths * 100), Underlay { direct, ..FINE });
        }
        let mut ups = vec![];
        for pair in world.history.windows(2) {
            let kind = |i: usize| pair[i].1.map(|choice| choice.kind);
            if kind(0) != Some(Direct) && kind(1) == Some(Direct) {
                ups.push(pair[1].0);
            }
        }
        for pair in ups.windows(2) {
            prop_assert!(pair[1] - pair[0] >= crate::liveness::FIRST_HOLD);
        }
        for window in ups.windows(6) {
            prop_assert!(window[5] - window[0] >= seconds(30));
        }
    }
}
