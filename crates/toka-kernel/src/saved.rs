//! The world's bytes in a snapshot.
//!
//! The digests are over bytes that leave out what a world has none of, so that a world keeps its digest when there comes
//! to be more that it could have. Such bytes cannot be read back for certain; these hold every part. They are made to be
//! read fast: capabilities, which many grants have in common, stand once, and maps are built in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toka_types::capability::CapabilitySet;
use toka_types::{EntityId, GrantId, OpId, Timestamp};

use crate::world::{Grant, WorldState};

/// Entries for which room is made before they are there: a length that is not true costs no more.
const MOST_AHEAD: usize = 1 << 20;

/// A world as a snapshot holds it.
#[derive(Clone, Debug)]
pub struct Saved<W>(pub W);

impl Serialize for Saved<&WorldState> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WorldState {
            next_seq,
            last_at,
            operator,
            next_grant,
            grants,
            agents,
            living,
            tasks,
            effects,
            registers,
            heads,
            operations,
            operations_until,
            operations_of: _,
            forked,
            authorities,
        } = self.0;
        let counted = (next_seq, last_at, operator, next_grant, forked);
        let entities = (agents, living, tasks, effects, registers, heads);
        let sets = Sets::of(grants);
        let grants = SavedGrants { grants, sets: &sets };
        (counted, sets.in_order(), grants, entities, operations, operations_until, authorities)
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Saved<WorldState> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Entities<A, B, C, D, E, F> = (Bulk<A>, B, Bulk<C>, Bulk<D>, Bulk<E>, Bulk<F>);
        let (counted, sets, grants, entities, operations, operations_until, authorities) =
            Deserialize::deserialize(deserializer)?;
        let (next_seq, last_at, operator, next_grant, forked) = counted;
        let entities: Entities<_, _, _, _, _, _> = entities;
        let (Bulk(agents), living, Bulk(tasks), Bulk(effects), Bulk(registers), Bulk(heads)) = entities;
        let Bulk(operations): Bulk<BTreeMap<(EntityId, OpId), _>> = operations;
        let mut operations_of = BTreeMap::new();
        for (origin, _) in operations.keys() {
            *operations_of.entry(*origin).or_insert(0) += 1;
        }
        let grants = read_grants::<D::Error>(grants, sets)?;
        Ok(Self(WorldState {
            next_seq,
            last_at,
            operator,
            next_grant,
            grants,
            agents,
            living,
            tasks,
            effects,
            registers,
            heads,
            operations,
            operations_until,
            operations_of,
            forked,
            authorities,
        }))
    }
}

/// The capability sets of all grants, each once, by their number.
struct Sets<'a>(BTreeMap<&'a CapabilitySet, u32>);

impl<'a> Sets<'a> {
    fn of(grants: &'a BTreeMap<GrantId, Grant>) -> Self {
        let mut sets = BTreeMap::new();
        for set in grants.values().flat_map(|grant| [&grant.uses, &grant.delegates]) {
            let next = sets.len() as u32;
            sets.entry(set).or_insert(next);
        }
        Self(sets)
    }

    fn in_order(&self) -> Vec<&'a CapabilitySet> {
        let mut numbered: Vec<_> = self.0.iter().map(|(set, number)| (*number, *set)).collect();
        numbered.sort_unstable_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, set)| set).collect()
    }

    fn number(&self, set: &CapabilitySet) -> u32 {
        self.0[set]
    }
}

/// Number, subject, what it was cut from, numbers of its sets, when it ends, whether it is void.
type SavedGrant = (GrantId, EntityId, Option<GrantId>, u32, u32, Option<Timestamp>, bool);

struct SavedGrants<'a> {
    grants: &'a BTreeMap<GrantId, Grant>,
    sets: &'a Sets<'a>,
}

impl Serialize for SavedGrants<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut grants = serializer.serialize_seq(Some(self.grants.len()))?;
        for (id, Grant { subject, cut_from, uses, delegates, expires, revoked }) in self.grants {
            let (uses, delegates) = (self.sets.number(uses), self.sets.number(delegates));
            let grant: SavedGrant = (*id, *subject, *cut_from, uses, delegates, *expires, *revoked);
            grants.serialize_element(&grant)?;
        }
        grants.end()
    }
}

fn read_grants<E: serde::de::Error>(
    grants: Vec<SavedGrant>,
    sets: Vec<CapabilitySet>,
) -> Result<BTreeMap<GrantId, Grant>, E> {
    let set = |number: u32| {
        let none = || E::custom(format_args!("there is no capability set {number}"));
        sets.get(number as usize).cloned().ok_or_else(none)
    };
    let grant = |(id, subject, cut_from, uses, delegates, expires, revoked): SavedGrant| {
        let (uses, delegates) = (set(uses)?, set(delegates)?);
        Ok((id, Grant { subject, cut_from, uses, delegates, expires, revoked }))
    };
    grants.into_iter().map(grant).collect()
}

/// A map that is built of all its entries at once: one after the other takes several times as long.
struct Bulk<M>(M);

impl<'de, K, V> Deserialize<'de> for Bulk<BTreeMap<K, V>>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = BTreeMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let len = map.size_hint().unwrap_or(0);
                let mut entries = Vec::with_capacity(len.min(MOST_AHEAD));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}
