//! `storage("vault")`: an agent's artefacts as events, kept by digest.
//!
//! What is put is an event `artifact.stored` of the agent, what is deleted an event `artifact.deleted`; a register
//! of the agent in the world holds the digest of the latest content under each key.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};

use serde::{Deserialize, Serialize};
use toka_agents::AgentError;
use toka_bus::Filter;
use toka_kernel::WorldState;
use toka_toolkit_core::storage::check_key;
use toka_toolkit_core::{Storage, StorageError};
use toka_types::facts::Register;
use toka_types::operation::{Authority, Cause, Observation};
use toka_types::{Digest, EntityId, Envelope, Kind, Operation};

use crate::host::Shared;
use crate::kernel_loop::Command;

const STORED: &str = "artifact.stored";
const DELETED: &str = "artifact.deleted";

/// The artefacts of one agent.
pub(crate) struct Artifacts {
    shared: Arc<Shared>,
    agent: EntityId,
}

#[derive(Serialize, Deserialize)]
struct Artifact {
    key: String,
    #[serde(with = "serde_bytes", default, skip_serializing_if = "Vec::is_empty")]
    data: Vec<u8>,
}

impl Artifacts {
    pub(crate) fn new(shared: Arc<Shared>, agent: EntityId) -> Self {
        Self { shared, agent }
    }

    fn ask<R: Send + 'static>(
        &self,
        look: impl FnOnce(&WorldState) -> R + Send + 'static,
    ) -> Result<R, StorageError> {
        let (sender, receiver) = mpsc::channel();
        let query = Box::new(move |world: &WorldState| {
            let _ = sender.send(look(world));
        });
        self.queue(Command::Query(query))?;
        receiver.recv().map_err(|_| stopped())
    }

    fn record(
        &self,
        kind: &str,
        artifact: &Artifact,
        value: bool,
        causes: &[Cause],
    ) -> Result<(), StorageError> {
        let agent = self.agent;
        let grant = self.ask(move |world| world.agent(agent).map(|agent| agent.grant))?;
        let grant = grant.ok_or_else(|| StorageError::Failed("the agent is not in the world".into()))?;
        let content = toka_agents::context::packed(artifact).map_err(failed)?;
        let register = Register { key: register_key(&artifact.key), value: value.then(|| content.digest()) };
        let mut observation = Observation::new(Kind::new(kind).map_err(failed)?, content);
        observation.registers.push(register);
        let operation = Operation::Observe(vec![observation]);
        let authority = Authority::Grant(grant);
        let (origin, causes) = (self.agent, causes.to_vec());
        let mut envelope = Envelope { origin, authority, op_id: None, causes, operation };
        self.shared.edge.seal_envelope(&mut envelope).map_err(failed)?;
        let (sender, receiver) = mpsc::channel();
        let answer = Box::new(move |result: Result<_, AgentError>| {
            let _ = sender.send(result.map(drop));
        });
        self.queue(Command::Submit { envelope, guard: None, permit: None, answer })?;
        receiver.recv().map_err(|_| stopped())?.map_err(failed)
    }

    /// Queues a command from whatever thread this is: the queue is emptied by the kernel's own thread.
    fn queue(&self, mut command: Command) -> Result<(), StorageError> {
        loop {
            match self.shared.commands.try_send(command) {
                Ok(()) => return Ok(()),
                Err(tokio::sync::mpsc::error::TrySendError::Full(back)) => {
                    command = back;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return Err(stopped()),
            }
        }
    }

    fn current(&self, key: &str) -> Result<Option<Digest>, StorageError> {
        let agent = self.agent;
        let key = self.shared.edge.blind(agent, register_key(key)).map_err(failed)?;
        self.ask(move |world| world.register(agent, key))
    }
}

fn register_key(key: &str) -> Digest {
    Digest::of_fields("toka 2026 artifact register v1", [key.as_bytes()])
}

fn failed(error: impl ToString) -> StorageError {
    StorageError::Failed(error.to_string())
}

fn stopped() -> StorageError {
    StorageError::Failed("the runtime has stopped".into())
}

impl Storage for Artifacts {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.put_because(key, bytes, &[])
    }

    fn put_because(&self, key: &str, bytes: &[u8], causes: &[Cause]) -> Result<(), StorageError> {
        check_key(key)?;
        self.record(STORED, &Artifact { key: key.to_owned(), data: bytes.to_vec() }, true, causes)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        check_key(key)?;
        let (Some(digest), Some(reader)) = (self.current(key)?, &self.shared.reader) else { return Ok(None) };
        let Some(content) = reader.content(&digest).map_err(failed)? else { return Ok(None) };
        let artifact: Artifact = rmp_serde::from_slice(&content).map_err(failed)?;
        Ok(Some(artifact.data))
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        check_key(key)?;
        if self.current(key)?.is_none() {
            return Ok(false);
        }
        self.record(DELETED, &Artifact { key: key.to_owned(), data: Vec::new() }, false, &[])?;
        Ok(true)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let mut keys = BTreeSet::new();
        let mut events =
            self.shared.feed.subscribe_from(0, Filter::all().kind("artifact").author(self.agent));
        loop {
            match events.try_recv() {
                Ok(Some(event)) => {
                    let event = self.shared.edge.opened(event);
                    // An event of this kind that the agent recorded otherwise is no artefact.
                    let artifact = event.payload().and_then(|c| rmp_serde::from_slice::<Artifact>(c).ok());
                    if let Some(artifact) = artifact.filter(|artifact| artifact.key.starts_with(prefix)) {
                        keys.insert(artifact.key);
                    }
                }
                Ok(None) | Err(toka_bus::RecvError::Closed) => break,
                Err(toka_bus::RecvError::Lagged(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        // The world knows which of them are there: a stopped agent's are not.
        let agent = self.agent;
        let blind = |key: String| {
            let register = self.shared.edge.blind(agent, register_key(&key)).map_err(failed)?;
            Ok((key, register))
        };
        let keys = keys.into_iter().map(blind).collect::<Result<Vec<_>, StorageError>>()?;
        self.ask(move |world| {
            let there = keys.into_iter().filter(|(_, register)| world.register(agent, *register).is_some());
            there.map(|(key, _)| key).collect()
        })
    }
}
