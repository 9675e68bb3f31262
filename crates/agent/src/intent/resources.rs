//! Resources written as documents: several together, all or none, in one write.
//!
//! What must not live here: what a document says (`hopsack_types::manifest`), and what is decided of one resource
//! (`pools`, `networks`, `hosts`, `removal`, and `trust::leaving`).

use crate::error::AgentError;
use crate::intent::changes::{Draft, change, rehearse};
use crate::intent::networks::{self, Routes, routes};
use crate::intent::removal::{self, Leaving};
use crate::intent::{hosts, pools};
use crate::member::Member;
use crate::trust::leaving;
use hopsack_api::{ApiError, ErrorCode, LabelRequest, Outcome, WriteMode, WriteRequest, Written};
use hopsack_types::NetworkId;
use hopsack_types::intent::Intent;
use hopsack_types::manifest::{Kind, NAME_FIELD, Resource, named};
use hopsack_types::name::Labels;
use std::collections::BTreeMap;

/// Documents, understood, in the order in which they are written: what others stand on comes first.
struct Batch(Vec<(usize, Resource)>);

impl Batch {
    fn read(request: &WriteRequest) -> Result<Self, AgentError> {
        let mut read = Vec::new();
        let mut seen = BTreeMap::new();
        for (position, document) in request.documents.iter().enumerate() {
            let refuse = |error: ApiError| error.in_document(position);
            let resource = Resource::read(document).map_err(|error| refuse(error.into()))?;
            let (kind, name) = (resource.kind(), resource.name());
            if kind == Kind::Endpoint {
                let message =
                    "an endpoint is made and removed with its container and cannot be written: leave it out";
                return Err(refuse(ApiError::new(ErrorCode::Invalid, message).at_field("kind")).into());
            }
            if seen.insert((kind, name.clone()), position).is_some() {
                let message = format!("{kind} {name} is there twice: write it once");
                return Err(refuse(ApiError::new(ErrorCode::Invalid, message).at_field(NAME_FIELD)).into());
            }
            read.push((position, resource));
        }
        read.sort_by_key(|(_, resource)| resource.kind());
        Ok(Self(read))
    }

    /// What came of each, in the order of the documents.
    fn told(&self, mut outcomes: BTreeMap<usize, Outcome>) -> Vec<Written> {
        let mut documents: Vec<&(usize, Resource)> = self.0.iter().collect();
        documents.sort_by_key(|(position, _)| *position);
        let told = documents.into_iter().filter_map(|(position, resource)| {
            let outcome = outcomes.remove(position)?;
            Some(Written { kind: resource.kind(), name: resource.name(), outcome })
        });
        told.collect()
    }
}

/// Writes resources, all or none.
pub async fn write(member: &Member, request: WriteRequest) -> Result<Vec<Written>, AgentError> {
    let batch = Batch::read(&request)?;
    if request.mode == WriteMode::Delete {
        return delete(member, &batch, request.dry_run).await;
    }
    let ids = batch.0.iter().map(|_| NetworkId::from_bytes(member.parts.entropy.bytes())).collect::<Vec<_>>();
    let routes = routes(member).await?;
    let decide = |intent: &Intent| {
        let mut draft = Draft::of(intent);
        let mut outcomes = BTreeMap::new();
        for ((position, resource), id) in batch.0.iter().zip(&ids) {
            let outcome = one(member, &mut draft, &routes, resource, request.mode, *id);
            outcomes.insert(*position, outcome.map_err(|error| in_document(error, *position))?);
        }
        Ok((draft.into_writes(), outcomes))
    };
    let outcomes = if request.dry_run {
        rehearse(member.store.as_ref(), decide)?.1
    } else {
        change(member.store.as_ref(), decide).await?
    };
    let told = batch.told(outcomes);
    tracing::info!(mode = ?request.mode, dry_run = request.dry_run, resources = told.len(), "resources written");
    Ok(told)
}

fn one(
    member: &Member,
    draft: &mut Draft,
    routes: &Routes,
    resource: &Resource,
    mode: WriteMode,
    id: NetworkId,
) -> Result<Outcome, AgentError> {
    check_presence(draft.intent(), resource, mode)?;
    match resource {
        Resource::Pool(document) => pools::write(draft, routes, document, mode),
        Resource::Network(document) => {
            networks::write(draft, routes, document, mode, id, member.identity.host)
        }
        Resource::Host(document) => hosts::label(draft, &document.name, |known| match mode {
            WriteMode::Replace => document.labels.clone().unwrap_or_default(),
            _ => document.labels.as_ref().unwrap_or(known).clone(),
        }),
        Resource::Endpoint(_) => Ok(Outcome::Unchanged),
    }
}

/// Whether a resource is there or not, as the mode wants it.
fn check_presence(intent: &Intent, resource: &Resource, mode: WriteMode) -> Result<(), ApiError> {
    let (kind, name) = (resource.kind(), resource.name());
    let there = match resource {
        Resource::Pool(document) => intent.pools.contains_key(&document.name),
        Resource::Network(document) => networks::named(intent, &document.name).is_some(),
        // Nobody makes one with a document.
        Resource::Host(document) => hosts::find(intent, &document.name).map(|_| true)?,
        Resource::Endpoint(_) => true,
    };
    let refuse = |code, message| Err(ApiError::new(code, message).at_field(NAME_FIELD));
    match (mode, there) {
        (WriteMode::Create, true) => {
            let message =
                format!("there is a {kind} {name} already: choose another name, or `hopsack apply`");
            refuse(ErrorCode::Conflict, message)
        }
        (WriteMode::Replace, false) => {
            let message = format!("there is no {kind} {name} to replace: make it with `hopsack create`");
            refuse(ErrorCode::NotFound, message)
        }
        _ => Ok(()),
    }
}

/// Removes networks, then hosts, then pools, which both have addresses of.
async fn delete(member: &Member, batch: &Batch, dry_run: bool) -> Result<Vec<Written>, AgentError> {
    let intent = member.intent.borrow().intent.clone();
    let mut leaving = Vec::new();
    for (position, resource) in &batch.0 {
        if let Resource::Network(document) = resource {
            let known = networks::named(&intent, &document.name)
                .ok_or_else(|| in_document(networks::not_found(document.name.as_str()), *position))?;
            leaving.push(Leaving { network: known.id, document: Some(*position) });
        }
    }
    let rest = |draft: &mut Draft| {
        for (position, resource) in batch.0.iter().rev() {
            remove(member, draft, resource).map_err(|error| in_document(error, *position))?;
        }
        Ok(())
    };
    if dry_run {
        rehearse(member.store.as_ref(), |intent| removal::check(member, intent, &leaving, rest))?;
    } else {
        removal::remove_all(member, &leaving, rest).await?;
    }
    Ok(batch.told(batch.0.iter().map(|(position, _)| (*position, Outcome::Deleted)).collect()))
}

/// Removes what is no network.
fn remove(member: &Member, draft: &mut Draft, resource: &Resource) -> Result<(), AgentError> {
    match resource {
        Resource::Pool(document) => pools::remove(draft, &document.name),
        Resource::Host(document) => {
            let id = hosts::find(draft.intent(), &document.name)
                .map_err(|_| leaving::not_found(&document.name))?
                .id;
            let (writes, _) = leaving::decide(member, draft.intent(), id, false)?;
            draft.take(writes)
        }
        Resource::Network(_) | Resource::Endpoint(_) => Ok(()),
    }
}

/// Changes labels of one resource; the others stay.
pub async fn label(member: &Member, request: LabelRequest) -> Result<Written, AgentError> {
    let LabelRequest { kind, name, labels } = request;
    let resource = Resource::read(&named(kind, &name)).map_err(ApiError::from)?;
    let change_labels = |known: &Labels| changed(known, &labels);
    let outcome = change(member.store.as_ref(), |intent| {
        let mut draft = Draft::of(intent);
        let outcome = match &resource {
            Resource::Pool(document) => pools::label(&mut draft, &document.name, change_labels)?,
            Resource::Network(document) => networks::label(&mut draft, &document.name, change_labels)?,
            Resource::Host(document) => hosts::label(&mut draft, &document.name, change_labels)?,
            Resource::Endpoint(_) => {
                let message = "an endpoint's labels are its container's: set them there";
                return Err(ApiError::new(ErrorCode::Invalid, message).into());
            }
        };
        Ok((draft.into_writes(), outcome))
    })
    .await?;
    Ok(Written { kind, name, outcome })
}

/// Labels with some set, and those without a value taken away.
pub fn changed(known: &Labels, changes: &BTreeMap<String, Option<String>>) -> Labels {
    let mut labels = known.clone();
    for (key, value) in changes {
        match value {
            Some(value) => drop(labels.insert(key.clone(), value.clone())),
            None => drop(labels.remove(key)),
        }
    }
    labels
}

fn in_document(error: AgentError, position: usize) -> AgentError {
    match error {
        AgentError::Refused(error) => error.in_document(position).into(),
        other => other,
    }
}
