//! Registered opcodes.

use toka_types::Name;
use toka_types::facts::{CustomEmit, CustomSet, Facts};

use super::{Asked, Decided, decided};
use crate::denial::{Code, Denied};
use crate::limits::{MAX_CUSTOM_INPUT, MAX_CUSTOM_OUTCOMES, MAX_REGISTERS};
use crate::opcode::{self, Outcome};

impl Asked<'_> {
    pub(super) fn custom(&self, opcode: &Name, input: &[u8]) -> Result<Vec<Decided>, Denied> {
        let asked = format!("custom:{opcode}");
        self.size(&asked, "bytes of input", input.len(), MAX_CUSTOM_INPUT)?;
        let (world, origin, at) = (self.world, self.envelope.origin, self.at);
        let outcomes = self.opcodes.decide(&opcode::Asked { world, opcode, origin, input, at });
        let outcomes = outcomes.ok_or_else(|| {
            let known: Vec<_> = self.opcodes.names().map(Name::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let rule = format!("nobody registered the opcode '{opcode}'; those that are: {known}");
            self.deny(Code::OpcodeUnknown, &asked, rule)
        })?;
        let outcomes = outcomes.map_err(|why| self.deny(Code::OpcodeRefused, &asked, why))?;
        self.count(&asked, "outcomes", outcomes.len(), MAX_CUSTOM_OUTCOMES)?;
        let mut events = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let opcode = opcode.clone();
            events.push(match outcome {
                Outcome::Set(registers) => {
                    self.count(&asked, "registers", registers.len(), MAX_REGISTERS)?;
                    decided(Facts::CustomSet(CustomSet { opcode, registers }), None)
                }
                Outcome::Emit { topic, content } => {
                    let size = content.as_ref().map_or(0, |content| content.bytes().len());
                    self.size(&asked, "bytes of content", size, self.largest_observation())?;
                    decided(Facts::CustomEmit(CustomEmit { opcode, topic }), content)
                }
            });
        }
        Ok(events)
    }
}
