//! What operations are made of, read from arbitrary bytes.

use toka_types::capability::MAX_CAPABILITY;
use toka_types::facts::ToolDeclared;
use toka_types::operation::{GovernedArgument, ToolRequest};
use toka_types::place::Places;
use toka_types::plan::{Key, Leaf, Selector, Slot, Source, Traced, Value};
use toka_types::price::{Price, Rate, Usage};
use toka_types::{
    Amount, Answer, AnswerShape, Capability, Currency, Digest, EffectClass, EntityId, FlowRule, Kind, Labels,
    Money, Name, Payload, PointerId, Sink, Verdict,
};

const WHO: [&str; 6] = ["operator", "a", "b", "a/c", "ann", "nobody"];
const KINDS: [&str; 6] = ["note.a", "file.chunk", "x", "tool.forged", "log.opened", "a.b.c.d"];
const LABELS: [&str; 5] = ["untrusted:web", "secret:stripe", "subject:ann", "from:me", "endorsed"];
pub(super) const POWERS: [&str; 10] = [
    "**",
    "tool:**",
    "event:emit(kind=note.**)",
    "agent:spawn(max=2)",
    "ledger:spend(max=1 USD)",
    "message:send(to=a)",
    "tool:t(path=docs/**,hours=08:00..18:00)",
    "approval:decide",
    "tool:**(rate=2/min,uses=7)",
    "event:emit(uses=3)",
];
const MONEY: [&str; 5] = ["0.50 USD", "1 USD", "1000000000000000000 USD", "0.000000001 EUR", "20 USD"];

/// Bytes that are read from the front; where there are none left, zeros.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(super) fn declared(&mut self) -> ToolDeclared {
        ToolDeclared {
            tool: self.name(),
            version: self.text(),
            class: self.pick(&EffectClass::ALL),
            sink: self.pick(Sink::ALL),
            labels: self.labels(),
            control: self.few(3, Self::text),
            manifest: self.digest(),
        }
    }

    /// A small number, or any.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::from_be_bytes(self.array()),
            small => u64::from(small % 16),
        }
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    pub(super) fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.byte().is_multiple_of(3).then(|| read(self))
    }

    pub(super) fn few<T>(&mut self, most: u8, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % most).map(|_| read(self)).collect()
    }

    pub(super) fn some(&mut self) -> Vec<u8> {
        let len = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(len);
        self.0 = rest;
        some.to_vec()
    }

    pub(super) fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.some()).into_owned()
    }

    /// How much later the next one comes; at times earlier, and at times much later.
    pub(super) fn delay(&mut self) -> i64 {
        match self.byte() {
            0..200 => i64::from(self.byte()),
            200..240 => 61_000_000,
            240..250 => -i64::from(self.byte()),
            _ => 86_400_000_000,
        }
    }

    pub(super) fn who(&mut self) -> EntityId {
        match self.byte() {
            255 => EntityId(self.array()),
            other => EntityId::named(WHO[usize::from(other) % WHO.len()]),
        }
    }

    pub(super) fn name(&mut self) -> Name {
        let own = match self.byte() {
            255 => Name::new(&self.text()).ok(),
            known @ ..128 => Name::new(WHO[usize::from(known) % WHO.len()]).ok(),
            other => Name::new(&format!("t{}", other % 4)).ok(),
        };
        own.unwrap_or_else(|| Name::new("t").unwrap_or_else(|error| panic!("{error}")))
    }

    pub(super) fn kind(&mut self) -> Kind {
        let own = match self.byte() {
            255 => Kind::new(&self.text()).ok(),
            other => Kind::new(KINDS[usize::from(other) % KINDS.len()]).ok(),
        };
        own.unwrap_or_else(|| Kind::new("note").unwrap_or_else(|error| panic!("{error}")))
    }

    pub(super) fn labels(&mut self) -> Labels {
        let texts = self.few(4, |bytes| bytes.pick(&LABELS));
        Labels::parse(&texts).unwrap_or_default()
    }

    pub(super) fn capability(&mut self) -> Capability {
        let own = match self.byte() {
            255 => self.text().chars().take(MAX_CAPABILITY).collect::<String>().parse().ok(),
            other => POWERS[usize::from(other) % POWERS.len()].parse().ok(),
        };
        own.unwrap_or_else(Capability::all)
    }

    pub(super) fn digest(&mut self) -> Digest {
        Digest::of(&[self.byte()])
    }

    pub(super) fn payload(&mut self) -> Payload {
        Payload::new(self.some())
    }

    pub(super) fn money(&mut self) -> Money {
        let parsed = MONEY[usize::from(self.byte()) % MONEY.len()].parse::<Money>();
        let money = parsed.unwrap_or_else(|error| panic!("{error}"));
        match self.byte() {
            255 => Amount(i128::from_be_bytes(self.array())).of(money.currency),
            _ => money,
        }
    }

    pub(super) fn price(&mut self) -> Price {
        let currency: Currency = self.money().currency;
        let rate = |bytes: &mut Self| Rate::new(bytes.money().amount, u64::from(bytes.byte())).ok();
        let (calls, bytes) = (rate(self), rate(self));
        Price { calls, bytes, micros: rate(self), ..Price::free(currency, self.who()) }
    }

    pub(super) fn usage(&mut self) -> Usage {
        Usage { calls: self.number(), micros: self.number(), bytes: self.number(), ..Usage::default() }
    }

    pub(super) fn rule(&mut self) -> FlowRule {
        FlowRule {
            name: self.name(),
            labels: self.few(3, |bytes| bytes.pick(&LABELS)).iter().filter_map(|l| l.parse().ok()).collect(),
            sinks: self.few(3, |bytes| bytes.pick(Sink::ALL)),
            to: self.few(3, Self::capability),
            verdict: self.pick(Verdict::ALL),
        }
    }

    pub(super) fn shape(&mut self) -> AnswerShape {
        match self.byte() % 3 {
            0 => AnswerShape::Boolean,
            1 => AnswerShape::OneOf(self.few(3, Self::text)),
            _ => AnswerShape::Integer {
                least: (self.number() as i64).wrapping_neg(),
                most: self.number() as i64,
            },
        }
    }

    pub(super) fn request(&mut self) -> ToolRequest {
        let governed = |bytes: &mut Self| {
            let argument = match bytes.byte() % 5 {
                0 => GovernedArgument::Path(bytes.text()),
                1 => GovernedArgument::Text(bytes.text()),
                2 => GovernedArgument::Host(bytes.text()),
                3 => GovernedArgument::Number(bytes.number()),
                _ => GovernedArgument::Money(bytes.money()),
            };
            (bytes.pick(&["path", "host", "to", "max", "n"]).to_owned(), argument)
        };
        ToolRequest {
            tool: self.name(),
            version: self.text(),
            class: self.pick(&EffectClass::ALL),
            sink: self.pick(Sink::ALL),
            arguments: self.payload(),
            governed: self.few(4, governed),
            places: Places { written: self.few(3, Self::digest), read: self.few(3, Self::digest) },
            bounds: self.usage(),
            traced: self.maybe(Self::traced).map(Box::new),
        }
    }

    /// One of few values, so that some are the same.
    pub(super) fn literal(&mut self) -> Digest {
        Digest::of(&[self.byte() % 4])
    }

    pub(super) fn pointer(&mut self) -> PointerId {
        PointerId([self.byte() % 4; 16])
    }

    pub(super) fn argument(&mut self) -> String {
        self.pick(&["to", "path", "body"]).to_owned()
    }

    pub(super) fn source(&mut self) -> Source {
        match self.byte() % 8 {
            0 => Source::Person,
            1 | 2 => Source::Leaf(Selector {
                read: self.name(),
                pointer: self.pointer(),
                elements: self.pointer(),
                keys: self.few(3, |bytes| Key {
                    pointer: bytes.pointer(),
                    depth: u32::from(bytes.byte()),
                    value: bytes.literal(),
                }),
            }),
            3 => Source::List(self.few(3, Self::source)),
            _ => Source::Literal(self.literal()),
        }
    }

    pub(super) fn slot(&mut self) -> Slot {
        Slot {
            name: self.maybe(Self::name),
            tool: self.name(),
            times: u32::from(self.byte() % 5),
            most: self.maybe(Self::money),
            arguments: self.few(3, |bytes| (bytes.argument(), bytes.source())),
        }
    }

    pub(super) fn leaf(&mut self) -> Leaf {
        Leaf {
            pointer: self.pointer(),
            at: self.few(3, |bytes| u32::from(bytes.byte() % 3)),
            value: self.literal(),
            trusted: self.byte().is_multiple_of(2),
            telling: self.byte().is_multiple_of(2),
        }
    }

    pub(super) fn traced(&mut self) -> Traced {
        let value = |bytes: &mut Self| match bytes.byte() % 4 {
            0 => Value::List(bytes.few(3, Self::literal)),
            _ => Value::One(bytes.literal()),
        };
        Traced {
            arguments: self.few(3, |bytes| (bytes.argument(), value(bytes))),
            control: self.few(2, Self::argument),
            mentions: self.few(2, Self::literal),
            phrases: self.few(3, Self::literal),
            cut: self.byte() == 255,
            controls: vec![("to".to_owned(), Answer::Integer(1))],
        }
    }
}
