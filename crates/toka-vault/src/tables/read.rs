//! Reading: everything is checked against what the header, the digest or the checksum says.

use std::collections::HashMap;
use std::sync::Arc;

use toka_types::{Digest, EventHeader, EventId, Payload};

use super::row::{Place, Stored, Table, checksum, decode_content, event_key};
use super::{EventBytes, TableStore};
use crate::core::{LogId, Record};
use crate::hash::DigestState;
use crate::store::StoreError;

/// Rows of the index of ids that are read at once.
const IDS: usize = 256;

pub(crate) fn headers(
    store: &TableStore,
    log: &LogId,
    from: u64,
    limit: usize,
) -> Result<Vec<EventHeader>, StoreError> {
    let (lineage, end) = {
        let state = store.state();
        let Some(number) = state.number(log) else { return Ok(Vec::new()) };
        let log = &state.logs[usize::from(number)];
        (log.lineage.clone(), log.tree.size())
    };
    let limit = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX).min(limit);
    let mut headers = Vec::new();
    for (&number, first, count) in lineage.stretches(from, limit) {
        let stretch = stretch(store, log, number, first, count)?;
        if headers.is_empty() {
            headers = stretch;
        } else {
            headers.extend(stretch);
        }
    }
    Ok(headers)
}

/// The headers of `limit` events that were appended to the log `number`, which are `log`'s from `from` on.
fn stretch(
    store: &TableStore,
    log: &LogId,
    number: u16,
    from: u64,
    limit: usize,
) -> Result<Vec<EventHeader>, StoreError> {
    let rows = store.tables.events(number, from, limit).map_err(|error| store.failed("read", error))?;
    let headers = (from..).zip(&rows).map(|(seq, row)| header(store, (number, seq), row));
    let headers = headers.collect::<Result<Vec<_>, _>>()?;
    if headers.len() < limit {
        let seq = from + headers.len() as u64;
        return Err(store.damage(Some(seq), format!("log '{log}' has no row for its event {seq}")));
    }
    Ok(headers)
}

/// The header in a row that stands at `place`.
pub(crate) fn header(store: &TableStore, place: Place, row: &EventBytes) -> Result<EventHeader, StoreError> {
    let (log, seq) = place;
    let damage = |detail: String| Err(store.damage(Some(seq), detail));
    if row.seq != seq {
        return damage(format!("event {} of log {log} stands where event {seq} belongs", row.seq));
    }
    if row.crc != checksum(&store.vault, Table::Events, &event_key(place), &row.header) {
        return damage("the event's row does not match its checksum".into());
    }
    match EventHeader::decode(&row.header) {
        Ok(header) if header.seq == seq => Ok(header),
        Ok(header) => damage(format!("event {} stands where event {seq} belongs", header.seq)),
        Err(error) => damage(error.to_string()),
    }
}

pub(crate) fn records(
    store: &TableStore,
    log: &LogId,
    from: u64,
    limit: usize,
) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut known: HashMap<Digest, Payload, DigestState> = HashMap::default();
    let complete = |header: EventHeader| {
        let mut content = Vec::with_capacity(header.content.len());
        // Payloads share their bytes, so an event that names the same content often costs one read.
        known.clear();
        for named in &header.content {
            if let Some(payload) = known.get(&named.digest) {
                content.push(payload.clone());
                continue;
            }
            match stored(store, &named.digest)? {
                Some(Stored::Bytes(bytes)) => {
                    let payload = checked(store, Some(header.seq), &named.digest, bytes)?;
                    known.insert(named.digest, payload.clone());
                    content.push(payload);
                }
                Some(Stored::Gone(_)) => {}
                None => {
                    let detail = format!("content {} is not in the vault", named.digest);
                    return Err(store.damage(Some(header.seq), detail));
                }
            }
        }
        Ok(Arc::new(Record { header, content }))
    };
    headers(store, log, from, limit)?.into_iter().map(complete).collect()
}

/// What there is of a piece of content.
pub(crate) fn stored(store: &TableStore, digest: &Digest) -> Result<Option<Stored>, StoreError> {
    let Some(bytes) = store.tables.content(digest).map_err(|error| store.failed("read", error))? else {
        return Ok(None);
    };
    match decode_content(&bytes) {
        Some(stored) => Ok(Some(stored)),
        None => Err(store.damage(None, format!("content {digest} is malformed"))),
    }
}

/// The payload of `bytes`, if they are what the digest says.
pub(crate) fn checked(
    store: &TableStore,
    seq: Option<u64>,
    digest: &Digest,
    bytes: Vec<u8>,
) -> Result<Payload, StoreError> {
    let payload = Payload::new(bytes);
    if payload.digest() == *digest {
        return Ok(payload);
    }
    Err(store.damage(seq, format!("content {digest} does not match its digest")))
}

/// Where an event is, in the order in which it was stored.
pub(crate) fn places(store: &TableStore, id: &EventId) -> Result<Vec<(LogId, u64)>, StoreError> {
    let places = store.tables.places(id).map_err(|error| store.failed("read", error))?;
    confirmed(store, places, |header| header.id == *id)
}

pub(crate) fn children(
    store: &TableStore,
    id: &EventId,
    after: Option<&(LogId, u64)>,
    limit: usize,
) -> Result<Vec<(LogId, u64)>, StoreError> {
    let after = match after {
        None => None,
        Some((log, seq)) => {
            let Some(number) = store.state().number(log) else { return Ok(Vec::new()) };
            Some((number, *seq))
        }
    };
    // What a reader does not see yet lies behind all that it sees.
    let places = store.tables.children(id, after, limit).map_err(|error| store.failed("read", error))?;
    confirmed(store, places, |header| header.parents.contains(id))
}

/// Those of `places` that readers see; an index that leads to an event of another kind is damaged.
fn confirmed(
    store: &TableStore,
    places: Vec<Place>,
    is_right: impl Fn(&EventHeader) -> bool,
) -> Result<Vec<(LogId, u64)>, StoreError> {
    let mut named = Vec::with_capacity(places.len());
    for place in places {
        let Some((log, seq)) = store.state().named(place) else { continue };
        match headers(store, &log, seq, 1)?.first() {
            Some(header) if is_right(header) => named.push((log, seq)),
            _ => return Err(store.damage(Some(seq), "an index leads to another event than it says")),
        }
    }
    Ok(named)
}

pub(crate) fn find_prefix(
    store: &TableStore,
    hex: &str,
    limit: usize,
) -> Result<Vec<(EventId, LogId, u64)>, StoreError> {
    if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(Vec::new());
    }
    let bound = |fill: &str| format!("{hex}{}", fill.repeat(64 - hex.len())).parse::<Digest>();
    let (Ok(mut low), Ok(high)) = (bound("0"), bound("f")) else { return Ok(Vec::new()) };
    let mut found: Vec<(EventId, LogId, u64)> = Vec::new();
    loop {
        let rows = store.tables.ids(&low.0, &high.0, IDS).map_err(|error| store.failed("read", error))?;
        let more = rows.len() == IDS;
        // The last id may have more rows than were read: it is read again from its first one.
        let last = rows.last().map(|(id, _)| *id);
        for (id, place) in rows {
            if found.len() >= limit {
                return Ok(found);
            }
            if found.last().is_some_and(|(before, ..)| *before == id) {
                continue;
            }
            let visible = store.state().named(place);
            if let Some((log, seq)) = visible {
                found.push((id, log, seq));
            }
        }
        match last.filter(|_| more) {
            Some(last) if last.0 != low => low = last.0,
            // A single id has more places than are read at once.
            Some(last) => match next(&last.0) {
                Some(after) => low = after,
                None => return Ok(found),
            },
            None => return Ok(found),
        }
    }
}

/// The digest that follows, as numbers do.
fn next(digest: &Digest) -> Option<Digest> {
    let mut bytes = digest.0;
    let at = bytes.iter().rposition(|&byte| byte != u8::MAX)?;
    bytes[at] += 1;
    bytes[at + 1..].fill(0);
    Some(Digest(bytes))
}
