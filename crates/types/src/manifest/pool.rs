//! `kind: Pool`.

use crate::address::Cidr;
use crate::manifest::fields::{FieldError, Fields};
use crate::name::{Labels, NetworkName, PoolName};
use crate::resource::Pool;
use serde::Serialize;
use serde_json::Value;

/// Where the pool's addresses stand in a document.
pub const CIDR_FIELD: &str = "spec.cidr";

const CIDR: &str = "cidr";
const NAT_OUTGOING: &str = "natOutgoing";
const DISABLED: &str = "disabled";

/// What the user says of a pool. What is left out stays as it is, or is the default in a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// [`Pool::cidr`]; a new pool needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    /// [`Pool::nat_outgoing`]; default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_outgoing: Option<bool>,
    /// [`Pool::disabled`]; default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// What is so about a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The part that hosts' own addresses come from.
    pub host_range: Cidr,
    /// Networks with a subnet in it.
    pub networks: Vec<NetworkName>,
}

impl PoolSpec {
    pub(super) fn read(spec: Option<&Value>) -> Result<Self, FieldError> {
        let fields = Fields::of(spec, "spec", &[CIDR, NAT_OUTGOING, DISABLED])?;
        Ok(Self {
            cidr: fields.text(CIDR, str::parse::<Cidr>)?,
            nat_outgoing: fields.flag(NAT_OUTGOING)?,
            disabled: fields.flag(DISABLED)?,
        })
    }

    /// All that a user could have said of a pool.
    pub const fn of(pool: &Pool) -> Self {
        Self { cidr: Some(pool.cidr), nat_outgoing: Some(pool.nat_outgoing), disabled: Some(pool.disabled) }
    }

    /// A new pool.
    pub fn make(&self, name: PoolName, labels: Option<&Labels>) -> Result<Pool, FieldError> {
        let missing =
            || FieldError::new(CIDR_FIELD, "is missing: write the pool's addresses, like 10.32.0.0/14");
        Ok(self.change(&Pool::new(name, self.cidr.ok_or_else(missing)?), labels))
    }

    /// A pool with what is said changed. Whether its addresses may be, its users decide.
    pub fn change(&self, known: &Pool, labels: Option<&Labels>) -> Pool {
        Pool {
            name: known.name.clone(),
            cidr: self.cidr.unwrap_or(known.cidr),
            nat_outgoing: self.nat_outgoing.unwrap_or(known.nat_outgoing),
            disabled: self.disabled.unwrap_or(known.disabled),
            labels: labels.unwrap_or(&known.labels).clone(),
        }
    }
}
