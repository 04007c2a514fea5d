//! What subscribers hold.

use std::marker::PhantomData;

use toka_bus::{RecvError, Subscription};
use toka_types::EventHeader;

use crate::core::{EventPayload, PayloadError, decode};
use crate::versioned::{Versioned, read};

/// A live stream of headers.
pub struct Headers(Subscription);

/// A live stream of payloads of one type.
pub struct Typed<T> {
    events: Subscription,
    payload: PhantomData<fn() -> T>,
}

/// A stream of payloads of one versioned type, whichever version each was written in.
pub struct TypedVersions<T> {
    events: Subscription,
    payload: PhantomData<fn() -> T>,
}

/// Why a typed stream has no payload to hand out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypedError {
    /// There is no event.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// The event's payload is of another type; the next call goes on behind it.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl Headers {
    pub(super) fn new(events: Subscription) -> Self {
        Self(events)
    }

    /// The next header. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<EventHeader, RecvError> {
        Ok(self.0.recv().await?.header.clone())
    }

    /// The next header; the thread waits for it. Not for use inside an executor.
    pub fn recv_blocking(&mut self) -> Result<EventHeader, RecvError> {
        Ok(self.0.recv_blocking()?.header.clone())
    }
}

impl<T: EventPayload> Typed<T> {
    pub(super) fn new(events: Subscription) -> Self {
        Self { events, payload: PhantomData }
    }

    /// The next payload with its header. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<(EventHeader, T), TypedError> {
        let event = self.events.recv().await?;
        Ok((event.header.clone(), decode(&event)?))
    }

    /// The next payload; the thread waits for it. Not for use inside an executor.
    pub fn recv_blocking(&mut self) -> Result<(EventHeader, T), TypedError> {
        let event = self.events.recv_blocking()?;
        Ok((event.header.clone(), decode(&event)?))
    }
}

impl<T: Versioned> TypedVersions<T> {
    pub(super) fn new(events: Subscription) -> Self {
        Self { events, payload: PhantomData }
    }

    /// The next payload of the type's kind, raised to the type, with its header. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<(EventHeader, T), TypedError> {
        loop {
            let event = self.events.recv().await?;
            if event.header.kind == T::KIND {
                return Ok((event.header.clone(), read(&event)?));
            }
        }
    }

    /// The next payload; the thread waits for it. Not for use inside an executor.
    pub fn recv_blocking(&mut self) -> Result<(EventHeader, T), TypedError> {
        loop {
            let event = self.events.recv_blocking()?;
            if event.header.kind == T::KIND {
                return Ok((event.header.clone(), read(&event)?));
            }
        }
    }
}
