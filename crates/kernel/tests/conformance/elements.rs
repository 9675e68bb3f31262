//! Elements of sets, changed without `nft`, are what `nft` would have made of them.

use super::states::{ip, mac, name};
use hopsack_netlink::elements::Elements;
use hopsack_netlink::generation::generation;
use hopsack_netlink::netns::in_new_ns;
use hopsack_netlink::{Errno, NetlinkError};
use hopsack_nft::{Nft, only_elements};
use hopsack_types::firewall::{Chain, Field, FieldKind, Firewall, Set, SetChange};
use hopsack_types::numbers::NFT_TABLE;
use hopsack_types::{Family, Protocol};
use std::collections::BTreeSet;

/// Sets of every form that has single elements, each with elements for these numbers.
fn firewall(numbers: &[u8]) -> Firewall {
    use FieldKind::{Address, Interface, Mac, Port};
    let (v4, v6) = (Address(Family::V4), Address(Family::V6));
    let protocol = |number: u8| Field::Protocol(Protocol::ALL[usize::from(number) % 3]);
    type Element<'a> = &'a dyn Fn(u8) -> Vec<Field>;
    let forms: [(&str, &[FieldKind], &[FieldKind], Element<'_>); 8] = [
        ("hosts4", &[v4], &[], &|n| vec![Field::Address(ip(&format!("10.32.0.{n}")))]),
        ("hosts6", &[v6], &[], &|n| vec![Field::Address(ip(&format!("fd32::{n}")))]),
        ("macs", &[Mac], &[], &|n| vec![Field::Mac(mac(n))]),
        ("ports", &[Port], &[], &|n| vec![Field::Port(u16::from(n) << 8 | 7)]),
        ("endpoints4", &[Interface, v4], &[], &|n| {
            let device = format!("hopc{:0>w$}", n, w = usize::from(n % 11) + 1);
            vec![Field::Interface(name(&device)), Field::Address(ip(&format!("10.32.4.{n}")))]
        }),
        ("endpoints6", &[Interface, v6], &[], &|n| {
            vec![Field::Interface(name(&format!("hopc{n}"))), Field::Address(ip(&format!("fd32:4::{n}")))]
        }),
        ("published4", &[v4, FieldKind::Protocol, Port, Mac], &[], &|n| {
            let address = Field::Address(ip(&format!("10.32.4.{n}")));
            vec![address, protocol(n), Field::Port(8000 + u16::from(n)), Field::Mac(mac(n))]
        }),
        ("ports_any4", &[FieldKind::Protocol, Port], &[v4, Port], &|n| {
            let to = Field::Address(ip(&format!("10.32.4.{n}")));
            vec![protocol(n), Field::Port(8000 + u16::from(n)), to, Field::Port(u16::from(n))]
        }),
    ];
    let set = |(name, fields, data, element): (&str, &[FieldKind], &[FieldKind], Element<'_>)| {
        let elements: BTreeSet<Vec<Field>> = numbers.iter().map(|number| element(*number)).collect();
        let set = Set { fields: fields.to_vec(), data: data.to_vec(), interval: false, elements };
        (name.to_owned(), set)
    };
    let chains = [("some".to_owned(), Chain::default())].into();
    Firewall { chains, sets: forms.into_iter().map(set).collect() }
}

fn changes(from: &Firewall, to: &Firewall) -> Vec<SetChange> {
    only_elements(from, to).unwrap()
}

#[test]
fn sets_of_every_form_read_back_as_they_were_changed() {
    in_new_ns(|| {
        let (nft, mut elements) = (Nft::find().unwrap(), Elements::open().unwrap());
        let many: Vec<u8> = (1..=250).collect();
        let mut before = firewall(&[]);
        nft.apply(&Firewall::default(), &before).unwrap();
        for numbers in [&[1, 2, 3][..], &[3, 4, 255], &many, &[9], &[]] {
            let after = firewall(numbers);
            elements.change(NFT_TABLE, generation().unwrap(), &changes(&before, &after)).unwrap();
            assert_eq!(nft.observe().unwrap(), after);
            before = after;
        }
    })
    .unwrap();
}

#[test]
fn a_set_may_change_by_more_elements_than_a_message_holds() {
    in_new_ns(|| {
        let (nft, mut elements) = (Nft::find().unwrap(), Elements::open().unwrap());
        let with = |count: u16| {
            let all = (0..count).map(|number| vec![Field::Port(number)]).collect();
            let set = Set { fields: vec![FieldKind::Port], data: Vec::new(), interval: false, elements: all };
            Firewall { chains: Default::default(), sets: [("ports".to_owned(), set)].into() }
        };
        let (none, many) = (with(0), with(5000));
        nft.apply(&Firewall::default(), &none).unwrap();
        for (from, to) in [(&none, &many), (&many, &none)] {
            elements.change(NFT_TABLE, generation().unwrap(), &changes(from, to)).unwrap();
            assert_eq!(nft.observe().unwrap(), *to);
        }
    })
    .unwrap();
}

#[test]
fn a_change_by_somebody_who_does_not_know_what_is_there_is_refused_whole() {
    in_new_ns(|| {
        let (nft, mut elements) = (Nft::find().unwrap(), Elements::open().unwrap());
        let (none, some, others) = (firewall(&[]), firewall(&[1, 2]), firewall(&[2, 7]));
        nft.apply(&Firewall::default(), &none).unwrap();
        let old = generation().unwrap();
        nft.apply(&none, &some).unwrap();
        let errno = |result: Result<(), NetlinkError>| result.unwrap_err().errno();
        assert_eq!(errno(elements.change(NFT_TABLE, old, &changes(&some, &none))), Some(Errno::ERESTART));
        // Of what leaves, some is not there.
        let now = generation().unwrap();
        assert_eq!(errno(elements.change(NFT_TABLE, now, &changes(&others, &none))), Some(Errno::ENOENT));
        assert_eq!(nft.observe().unwrap(), some, "a part of it was done");
        elements.change(NFT_TABLE, now, &changes(&some, &others)).unwrap();
        assert_eq!(nft.observe().unwrap(), others, "the answer to one change was taken for that to another");
    })
    .unwrap();
}

#[test]
fn whatever_else_differs_is_left_to_nft() {
    let (some, others) = (firewall(&[1]), firewall(&[2]));
    let differing = |change: &dyn Fn(&mut Firewall)| {
        let mut changed = others.clone();
        change(&mut changed);
        only_elements(&some, &changed)
    };
    assert!(differing(&|_| {}).is_some());
    assert_eq!(differing(&|firewall| firewall.chains.clear()), None);
    assert_eq!(differing(&|firewall| drop(firewall.sets.pop_first())), None);
    assert_eq!(differing(&|firewall| firewall.sets.values_mut().for_each(|set| set.interval = true)), None);
}
