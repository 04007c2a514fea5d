//! Everyday words for technical ones: who asks seldom knows the word that the text uses.
//!
//! Latent semantics learns company from the vault, but not from a vault of a few hundred texts which of
//! them speaks of a *folder* where the question says *directory*. These groups are of general English as
//! it is used about computing; nothing in them comes from any vault.

use super::analyze::Analyzer;

/// Words that can stand for each other, one group a line.
const GROUPS: &str = "\
add append insert include attach
abort crash panic die fail
access permission privilege right authorization
address location place
allow permit let enable
alter change modify edit update
argument parameter option flag switch
array vector list sequence
ask prompt query request question
attack exploit threat malicious
author creator writer maintainer
automatic automatically unattended
backup snapshot copy dump
begin start launch boot initialize
bug defect error fault mistake problem issue
build compile make
cache memoize
call invoke execute run
cancel abort stop interrupt
check verify validate test inspect examine
child descendant subprocess
clean purge prune cleanup
client consumer caller
cluster group quorum
combine merge join concatenate unite
command instruction
compare diff difference
compress shrink reduce smaller
concurrent parallel simultaneous thread multithread
condition conditional
configuration config setting preference option
connect attach link
constant immutable fixed
convert transform translate cast coerce
count number total amount
create make generate produce
credential password secret login
crypt encrypt cipher tls
damage corrupt broken
data information
date time timestamp
deadline timeout expire expiration
debug troubleshoot diagnose
default standard
delay latency wait slow
delete remove erase drop destroy discard
dependency library package crate module
deploy release ship publish rollout
describe document explain documentation
dictionary map hash table
directory folder
disable deactivate
disk storage drive
display show print output
download fetch pull retrieve
duplicate copy clone
element item member entry
emit send publish broadcast
empty blank vacant
enumerate list
environment variable
equal same identical
event notification signal message
example sample tutorial demo
exception error failure
exit quit terminate leave
expose reveal leak
extend extension plugin addon
failover takeover redundancy availability
fast quick performance speed optimize
file document
filter select match
find search locate lookup seek
fix repair recover mend
format layout syntax
free release deallocate
function method procedure routine
generic template polymorphism
grow expand increase
guarantee promise ensure
halt stop shutdown
hardware device machine
host server machine node computer
ignore skip exclude
import load
install setup
integrity checksum tamper
interface api contract
internal private hidden
interrupt signal
introduce begin beginner
iterate loop repeat
key identifier name id
kind type sort
large big huge
leader primary master
follower replica secondary
limit maximum quota bound cap
link reference
lock mutex exclusive
log journal record trace
loop cycle
measure metric benchmark profile
memory ram heap
migrate move upgrade port transition
mirror replicate replica replication
missing absent lost
monitor observe watch metric
mutable writable
new fresh latest
nested inner
network connection socket
old previous former legacy
operating system platform os
order sort rank
overwrite replace
owner ownership
parse read decode
password passphrase
path location
pattern glob regex wildcard
people person user human
pipe channel stream queue
pointer reference address
policy rule
port endpoint
prevent avoid forbid prohibit
program application process binary executable
protect secure guard safety
protocol wire
proxy gateway
public visible export
quote escape
random arbitrary
read load
recent latest
register subscribe
reject deny refuse
remote distant
rename move
reset revert undo rollback restore
resize scale
response reply answer
restrict limit constrain
result outcome return
retry repeat
review audit
revoke withdraw yank
root superuser administrator admin sudo
schedule cron timer
scope lifetime
script automation
section part chapter
separate split divide partition shard
serialize encode marshal
share common
sign signature
simulate dry mock
size length
source origin
state status condition
stop end finish
store save persist keep
string text
struct record
style convention
subscribe listen
suggest recommend advise
synchronize sync
tag label mark
task job step
team community
test check
tool utility
trait behaviour behavior interface
transaction atomic
trust certificate
undefined unspecified
unique distinct
upgrade update
use usage
value content
version revision release edition
virtual container
vulnerable vulnerability weakness
wait block
warn warning lint
web http browser
window terminal console shell
write author
";

/// Most related terms added to a query: a question has far fewer, the bound protects against long texts.
const MAX_RELATED: usize = 64;

/// The groups, brought to terms.
pub(super) struct Thesaurus {
    groups: Vec<Vec<String>>,
}

impl Thesaurus {
    pub(super) fn new(analyzer: &Analyzer) -> Self {
        let terms = |group: &str| group.split(' ').map(|word| analyzer.stem(word)).collect();
        Self { groups: GROUPS.lines().map(terms).collect() }
    }

    /// Terms related to those of a query, each with the index of the term that it is related to; none
    /// twice, and none that is in the query itself.
    pub(super) fn related(&self, query: &[String]) -> Vec<(String, usize)> {
        let mut related: Vec<(String, usize)> = Vec::new();
        for (index, term) in query.iter().enumerate() {
            for group in self.groups.iter().filter(|group| group.contains(term)) {
                for other in group {
                    let known = query.contains(other) || related.iter().any(|(related, _)| related == other);
                    if !known && related.len() < MAX_RELATED {
                        related.push((other.clone(), index));
                    }
                }
            }
        }
        related
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_lowercase_words() {
        for group in GROUPS.lines() {
            assert!(group.split(' ').count() > 1, "{group} relates nothing");
            let fine = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(group.split(' ').all(|word| !word.is_empty() && fine(word)), "{group}");
        }
    }

    #[test]
    fn related_terms_come_once_and_from_the_query_not_at_all() {
        let check = |query: &str, expected: &str| {
            let analyzer = Analyzer::new();
            let terms: Vec<String> = analyzer.query(query).into_iter().map(|t| t.0).collect();
            let related = Thesaurus::new(&analyzer).related(&terms);
            let shown: Vec<_> = related.iter().map(|(t, of)| format!("{t}<{}", terms[*of])).collect();
            assert_eq!(shown.join(" "), expected, "{query}");
        };
        check("folders", "directori<folder");
        check("folder directory", "");
        check("zebra", "");
        let everything = GROUPS.replace('\n', " ");
        let analyzer = Analyzer::new();
        let words: Vec<String> = everything.split(' ').step_by(3).map(|w| analyzer.stem(w)).collect();
        assert!(Thesaurus::new(&analyzer).related(&words).len() <= MAX_RELATED);
    }
}
