//! Facts of our vocabulary in the blocks of a Biscuit.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use biscuit_auth::builder::{Fact, Term, bytes, fact, int, string};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::schema;
use biscuit_auth::format::schema::term::Content;
use ed25519_dalek::VerifyingKey;
use prost::Message;
use toka_types::capability::CapabilitySet;
use toka_types::operation::Metered;
use toka_types::{Digest, EntityId, GrantId, OpId, Timestamp};

use super::{malformed, verifying};
use crate::gate::{Seconds, from_seconds, seconds};
use crate::token::{Claims, Narrowing, TokenError};

/// The version of the vocabulary.
const VERSION: i64 = 1;
/// The one fact that may stand there several times.
const METERED: &str = "metered";
/// Versions of Datalog in which facts mean what they mean here.
const DATALOG: std::ops::RangeInclusive<u32> = 3..=6;

/// The facts of the issuer's block.
pub(super) fn authority(claims: &Claims, audience: &str, times: &Seconds) -> Result<Vec<Fact>, TokenError> {
    let cannot = |what: &str| TokenError::CannotIssue(what.to_owned());
    let grant = i64::try_from(claims.grant.0).map_err(|_| cannot("the grant's number is too large"))?;
    let mut facts = vec![
        fact("toka", &[int(VERSION), Term::Null]),
        fact("issuer", &[bytes(&claims.issuer.0)]),
        fact("subject", &[bytes(&claims.subject.0)]),
        fact("audience", &[string(audience)]),
        fact("grant", &[int(grant)]),
        fact("number", &[bytes(&claims.id.0)]),
        fact("issued", &[date(times.issued)?]),
    ];
    for (name, time) in [("not_before", times.not_before), ("until", times.renewable_until)] {
        if let Some(time) = time {
            facts.push(fact(name, &[date(time)?]));
        }
    }
    facts.extend(common(Some(times.expires), claims.holder.as_ref(), claims.attenuation.as_ref())?);
    for Metered { meter, until, only } in &claims.metered {
        facts.push(fact(METERED, &[bytes(&meter.0), date(seconds(*until))?, texts(only)]));
    }
    Ok(facts)
}

/// The facts of a block behind the issuer's.
pub(super) fn of_narrowing(narrowing: &Narrowing) -> Result<Vec<Fact>, TokenError> {
    let ends = narrowing.expires.map(seconds);
    let mut facts = common(ends, narrowing.holder.as_ref(), narrowing.only.as_ref())?;
    if !narrowing.requires.is_empty() {
        let keys: BTreeSet<Term> = narrowing.requires.iter().map(|key| bytes(key.as_bytes())).collect();
        facts.push(fact("requires", &[Term::Set(keys)]));
    }
    Ok(facts)
}

fn common(
    expires: Option<i64>,
    holder: Option<&VerifyingKey>,
    only: Option<&CapabilitySet>,
) -> Result<Vec<Fact>, TokenError> {
    let mut facts = Vec::new();
    if let Some(expires) = expires {
        facts.push(fact("expires", &[date(expires)?]));
    }
    if let Some(holder) = holder {
        facts.push(fact("holder", &[bytes(holder.as_bytes())]));
    }
    if let Some(only) = only {
        facts.push(fact("only", &[texts(only)]));
    }
    Ok(facts)
}

fn texts(only: &CapabilitySet) -> Term {
    Term::Set(only.iter().map(|capability| string(&capability.to_string())).collect())
}

fn date(seconds: i64) -> Result<Term, TokenError> {
    let cannot = |_| TokenError::CannotIssue(format!("{seconds} s after the epoch is before it"));
    Ok(Term::Date(u64::try_from(seconds).map_err(cannot)?))
}

/// The texts that blocks name by number: those that every Biscuit has, and from 1,024 on those that blocks bring along.
#[derive(Default)]
pub(super) struct Symbols(Vec<String>);

/// The number of the first symbol that is a block's own.
const FIRST_OWN: u64 = 1024;

impl Symbols {
    fn get(&self, number: u64) -> Option<&str> {
        match number.checked_sub(FIRST_OWN) {
            Some(own) => self.0.get(usize::try_from(own).ok()?).map(String::as_str),
            None => DEFAULT.get_symbol(number),
        }
    }

    /// Adds a block's own. None of them has a number already: a text has one.
    fn extend(&mut self, own: Vec<String>) -> Result<(), TokenError> {
        for symbol in own {
            if DEFAULT.get(&symbol).is_some() || self.0.contains(&symbol) {
                return Err(malformed("a block brings along a symbol that is there already"));
            }
            self.0.push(symbol);
        }
        Ok(())
    }
}

/// The symbols that every Biscuit has.
static DEFAULT: LazyLock<SymbolTable> = LazyLock::new(SymbolTable::new);

/// Reads a block's bytes and adds its symbols to `symbols`. It has nothing but facts.
pub(super) fn block(bytes: &[u8], symbols: &mut Symbols) -> Result<schema::Block, TokenError> {
    let mut block = schema::Block::decode(bytes).map_err(|e| malformed(e.to_string()))?;
    if block.encode_to_vec() != bytes {
        return Err(malformed("a block has members that are not known here"));
    }
    if !block.version.is_some_and(|version| DATALOG.contains(&version)) {
        let version = block.version.unwrap_or_default();
        return Err(malformed(format!("a block is of version {version}, and 3 to 6 are known here")));
    }
    if let Some(found) = [
        ("rules", block.rules.is_empty()),
        ("checks", block.checks.is_empty()),
        ("scopes", block.scope.is_empty()),
        ("public keys", block.public_keys.is_empty()),
        ("a context", block.context.is_none()),
    ]
    .iter()
    .find(|(_, none)| !none)
    {
        return Err(malformed(format!("a block has {}, and facts alone are read here", found.0)));
    }
    symbols.extend(std::mem::take(&mut block.symbols))?;
    Ok(block)
}

/// The claims of the issuer's block and their audience.
pub(super) fn read_authority(
    block: &schema::Block,
    symbols: &Symbols,
) -> Result<(Claims, String), TokenError> {
    const NAMES: [&str; 13] = [
        "toka",
        "issuer",
        "subject",
        "audience",
        "grant",
        "number",
        "issued",
        "not_before",
        "until",
        "expires",
        "holder",
        "only",
        METERED,
    ];
    let facts = Facts::read(block, symbols, &NAMES)?;
    match facts.get("toka") {
        Some([schema::Term { content: Some(Content::Integer(VERSION)) }, null])
            if matches!(null.content, Some(Content::Null(_))) => {}
        _ => return Err(malformed("its first block does not say toka(1, null)")),
    }
    let Some(schema::Term { content: Some(Content::String(audience)) }) = facts.one("audience")? else {
        return Err(malformed("it has no audience"));
    };
    let audience = symbols.get(*audience).ok_or_else(|| malformed("it names an unknown symbol"))?;
    let Some(schema::Term { content: Some(Content::Integer(grant)) }) = facts.one("grant")? else {
        return Err(malformed("it has no grant"));
    };
    let grant = u64::try_from(*grant).map_err(|_| malformed("its grant's number is negative"))?;
    let missing = |name: &'static str| move || malformed(format!("it has no {name}"));
    let Narrowing { only, expires, holder, .. } = facts.narrowing()?;
    let claims = Claims {
        issuer: EntityId(facts.bytes("issuer")?.ok_or_else(missing("issuer"))?),
        subject: EntityId(facts.bytes("subject")?.ok_or_else(missing("subject"))?),
        grant: GrantId(grant),
        issued: facts.date("issued")?.ok_or_else(missing("time of issue"))?,
        not_before: facts.date("not_before")?,
        expires: expires.ok_or_else(missing("end"))?,
        renewable_until: facts.date("until")?,
        id: OpId(facts.bytes("number")?.ok_or_else(missing("number"))?),
        holder,
        attenuation: only,
        metered: facts.metered()?,
    };
    Ok((claims, audience.to_owned()))
}

/// What a block behind the issuer's takes away.
pub(super) fn narrowing(bytes: &[u8], symbols: &mut Symbols) -> Result<Narrowing, TokenError> {
    let block = block(bytes, symbols)?;
    Facts::read(&block, symbols, &["only", "expires", "holder", "requires"])?.narrowing()
}

/// A block's facts by name.
struct Facts<'a> {
    facts: Vec<(&'static str, &'a [schema::Term])>,
    symbols: &'a Symbols,
}

impl<'a> Facts<'a> {
    /// Reads facts of which the names are among `names`, each at most once but for [`METERED`].
    fn read(
        block: &'a schema::Block,
        symbols: &'a Symbols,
        names: &[&'static str],
    ) -> Result<Self, TokenError> {
        let mut facts: Vec<(&'static str, &[schema::Term])> = Vec::with_capacity(block.facts.len());
        for fact in &block.facts {
            let name = symbols.get(fact.predicate.name);
            let known = names.iter().find(|known| name == Some(**known));
            let known = known.ok_or_else(|| malformed("a block has a fact that is not known there"))?;
            if *known != METERED && facts.iter().any(|(earlier, _)| earlier == known) {
                return Err(malformed(format!("a block says '{known}' twice")));
            }
            facts.push((known, &fact.predicate.terms));
        }
        Ok(Self { facts, symbols })
    }

    fn narrowing(&self) -> Result<Narrowing, TokenError> {
        let only = self.set("only")?.map(|terms| self.capabilities("only", terms));
        let requires = self.set("requires")?.unwrap_or_default().iter().map(|term| match &term.content {
            Some(Content::Bytes(key)) => verifying(key),
            _ => Err(malformed("'requires' holds something else than keys")),
        });
        let holder: Option<[u8; 32]> = self.bytes("holder")?;
        Ok(Narrowing {
            only: only.transpose()?,
            expires: self.date("expires")?,
            holder: holder.map(|key| verifying(&key)).transpose()?,
            requires: requires.collect::<Result<_, _>>()?,
        })
    }

    fn capabilities(&self, name: &str, terms: &[schema::Term]) -> Result<CapabilitySet, TokenError> {
        let texts = terms.iter().map(|term| match term.content {
            Some(Content::String(text)) => self.symbols.get(text),
            _ => None,
        });
        let texts: Option<Vec<&str>> = texts.collect();
        let texts = texts.ok_or_else(|| malformed(format!("'{name}' holds something else than texts")))?;
        CapabilitySet::parse(texts).map_err(|e| malformed(e.to_string()))
    }

    fn metered(&self) -> Result<Vec<Metered>, TokenError> {
        let found = self.facts.iter().filter(|(name, _)| *name == METERED);
        let read = found.map(|(_, terms)| match terms {
            [
                schema::Term { content: Some(Content::Bytes(meter)) },
                schema::Term { content: Some(Content::Date(until)) },
                schema::Term { content: Some(Content::Set(only)) },
            ] => Ok(Metered {
                meter: Digest(meter[..].try_into().map_err(|_| malformed("a meter is not 32 bytes"))?),
                until: from_seconds(i64::try_from(*until).unwrap_or(i64::MAX)),
                only: self.capabilities(METERED, &only.set)?,
            }),
            _ => Err(malformed(format!("'{METERED}' is not a meter, a date and a set"))),
        });
        read.collect()
    }

    fn get(&self, name: &str) -> Option<&'a [schema::Term]> {
        self.facts.iter().find(|(found, _)| *found == name).map(|(_, terms)| *terms)
    }

    fn one(&self, name: &str) -> Result<Option<&'a schema::Term>, TokenError> {
        match self.get(name) {
            None => Ok(None),
            Some([term]) => Ok(Some(term)),
            Some(_) => Err(malformed(format!("'{name}' does not have one term"))),
        }
    }

    fn bytes<const N: usize>(&self, name: &str) -> Result<Option<[u8; N]>, TokenError> {
        let wrong = || malformed(format!("'{name}' is not {N} bytes"));
        let Some(term) = self.one(name)? else {
            return Ok(None);
        };
        match &term.content {
            Some(Content::Bytes(bytes)) => bytes[..].try_into().map(Some).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    fn date(&self, name: &str) -> Result<Option<Timestamp>, TokenError> {
        let Some(term) = self.one(name)? else {
            return Ok(None);
        };
        match term.content {
            Some(Content::Date(seconds)) => {
                Ok(Some(from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))))
            }
            _ => Err(malformed(format!("'{name}' is not a date"))),
        }
    }

    fn set(&self, name: &str) -> Result<Option<&'a [schema::Term]>, TokenError> {
        let Some(term) = self.one(name)? else {
            return Ok(None);
        };
        match &term.content {
            Some(Content::Set(set)) => Ok(Some(&set.set)),
            _ => Err(malformed(format!("'{name}' is not a set"))),
        }
    }
}
