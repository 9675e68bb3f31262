//! Elements as the kernel keeps them: for changes that consist of nothing else, and need no `nft`.

use hopsack_types::firewall::{Field, Firewall, Set, SetChange};
use std::net::IpAddr;

/// `IFNAMSIZ`: an interface's name is filled up with zeros to this.
const NAME_BYTES: usize = 16;
/// Each field of several begins at a register of this many bytes.
const REGISTER_BYTES: usize = 4;

/// The elements by which two firewalls differ, if they differ in nothing else: in no chain, no set's form, and no set of
/// prefixes, whose elements are not laid out one by one.
pub fn only_elements(observed: &Firewall, desired: &Firewall) -> Option<Vec<SetChange>> {
    if observed.chains != desired.chains || !observed.sets.keys().eq(desired.sets.keys()) {
        return None;
    }
    let mut changes = Vec::new();
    for ((name, before), after) in observed.sets.iter().zip(desired.sets.values()) {
        if before == after {
            continue;
        }
        let form = |set: &Set| (set.fields.clone(), set.data.clone(), set.interval);
        if form(before) != form(after) || after.interval {
            return None;
        }
        let split = |element: &Vec<Field>| {
            let (key, data) = element.split_at_checked(after.fields.len())?;
            Some((laid_out(key)?, laid_out(data)?))
        };
        changes.push(SetChange {
            set: name.clone(),
            removed: before
                .elements
                .difference(&after.elements)
                .map(|element| split(element).map(|(key, _)| key))
                .collect::<Option<_>>()?,
            added: after.elements.difference(&before.elements).map(split).collect::<Option<_>>()?,
        });
    }
    Some(changes)
}

/// One field is as long as it is; several are each filled up to whole registers.
fn laid_out(fields: &[Field]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for field in fields {
        match field {
            Field::Address(IpAddr::V4(address)) => bytes.extend(address.octets()),
            Field::Address(IpAddr::V6(address)) => bytes.extend(address.octets()),
            Field::Prefix(_) => return None,
            Field::Mac(mac) => bytes.extend(mac.bytes()),
            Field::Interface(name) => {
                let mut filled = [0; NAME_BYTES];
                filled.get_mut(..name.as_str().len())?.copy_from_slice(name.as_str().as_bytes());
                bytes.extend(filled);
            }
            Field::Protocol(protocol) => bytes.push(protocol.number()),
            Field::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        if fields.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(REGISTER_BYTES), 0);
        }
    }
    Some(bytes)
}
