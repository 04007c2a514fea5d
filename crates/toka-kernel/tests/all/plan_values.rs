//! How a plan binds values: which ones are the same, where they may come from, and what of a read binds nothing.

use crate::house::*;
use crate::plans::{
    asked, call, check, contacts, email_of, instruct, leaf, literal, named, number, pay, plan, read,
    returned, slot, text, with_data,
};
use toka_kernel::limits::MAX_LEAVES;
use toka_types::facts::ApprovalVerdict;
use toka_types::operation::{GovernedArgument, ToolOutcome, ToolRequest};
use toka_types::plan::{Key, Leaf, Scalar, Selector, Slot, Source, Value};
use toka_types::{Operation, PointerId, Sink};

#[test]
fn numbers_are_numbers_and_texts_are_texts() {
    let mut house = House::inhabited();
    house.ask("operator", instruct("a", &[number("1e0"), text("1")])).expect("allowed");
    let slots = vec![slot("pay", &[("to", Source::Literal(number("1e0")))])];
    house.ask("a", plan("a", slots)).expect("allowed");
    house.because(&["untrusted:web"]);
    let paid = |value| call("pay", &[("to", Value::One(value))]);
    for other in [text("1"), text("1.0"), number("1e1"), number("-1e0"), Scalar::Bool(true).digest()] {
        check(&mut house.clone(), "a", &paid(other), Err("plan.argument"));
    }
    check(&mut house, "a", &paid(number("1e0")), Ok(Some(0)));
}

#[test]
fn lists_are_compared_element_by_element() {
    let mut house = asked(&["Bob", "carol@x.org"]);
    let both = Source::List(vec![email_of("Bob"), literal("carol@x.org")]);
    let slots = vec![
        named("contacts", slot("contacts.list", &[])),
        slot("mail", &[("to", both), ("cc", Source::List(Vec::new()))]),
    ];
    house.ask("a", plan("a", slots)).expect("allowed");
    read(&mut house, "contacts.list", contacts(), &[]);
    house.because(&["untrusted:web"]);
    let mail = |to: &[&str], cc: &[&str]| {
        let list = |of: &[&str]| Value::List(of.iter().map(|one| text(one)).collect());
        call("mail", &[("to", list(to)), ("cc", list(cc))])
    };
    let (bob, carol, eve) = ("bob@x.org", "carol@x.org", "eve@evil.example");
    for to in [&[carol, bob][..], &[bob], &[bob, carol, eve], &[bob, carol, bob], &[], &[bob, eve]] {
        check(&mut house.clone(), "a", &mail(to, &[]), Err("plan.argument"));
    }
    check(&mut house.clone(), "a", &mail(&[bob, carol], &[eve]), Err("plan.argument"));
    check(&mut house, "a", &mail(&[bob, carol], &[]), Ok(Some(1)));
}

#[test]
fn of_an_untrusted_read_only_what_the_server_wrote_binds() {
    let sender = |key: &str, pointer: &str| {
        let key = Key { pointer: PointerId::of(key), depth: 1, value: text("m1") };
        let elements = PointerId::of(&format!("{pointer}/*"));
        Source::Leaf(Selector {
            read: name("inbox"),
            pointer: PointerId::of(pointer),
            elements,
            keys: vec![key],
        })
    };
    let inbox = || {
        let minted = |pointer, value| Leaf { trusted: true, ..leaf(pointer, 0, value) };
        let mut mails = vec![minted("/*/id", "m1"), minted("/*/sender", "bob@x.org")];
        // Whoever wrote the mail wrote these.
        mails.extend([leaf("/*/reply", 0, "eve@evil.example"), leaf("/*/subject", 0, "m1")]);
        mails
    };
    let reading = |source: Source, labels: &[&str]| {
        let mut house = asked(&["m1"]);
        let slots = vec![named("inbox", slot("mail.list", &[])), slot("pay", &[("to", source)])];
        house.ask("a", plan("a", slots)).expect("allowed");
        house.because(&["untrusted:web"]);
        read(&mut house, "mail.list", inbox(), labels);
        house
    };
    let untrusted = ["untrusted:mail"];
    check(&mut reading(sender("/*/id", "/*/sender"), &untrusted), "a", &pay("bob@x.org"), Ok(Some(1)));
    check(
        &mut reading(sender("/*/id", "/*/reply"), &untrusted),
        "a",
        &pay("eve@evil.example"),
        Err("plan.argument"),
    );
    check(
        &mut reading(sender("/*/subject", "/*/sender"), &untrusted),
        "a",
        &pay("bob@x.org"),
        Err("plan.argument"),
    );
    check(&mut reading(sender("/*/id", "/*/reply"), &[]), "a", &pay("eve@evil.example"), Ok(Some(1)));
}

#[test]
fn what_was_written_from_untrusted_data_is_no_trusted_read() {
    let reading = |of: &[&str]| {
        let mut house = asked(&["Bob"]);
        let slots =
            vec![named("contacts", slot("contacts.list", &[])), slot("pay", &[("to", email_of("Bob"))])];
        house.ask("a", plan("a", slots)).expect("allowed");
        // Somebody else keeps what a page said where the contacts lie, as a person allowed.
        let mut places = toka_types::place::Places::default();
        places.add(b"/r/contacts.json");
        house.because(of);
        let keep = ToolRequest { places: places.clone(), sink: Sink::None, ..call("keep", &[]) };
        house.ask("b", Operation::Request(keep)).expect("allowed");
        house.causes.clear();
        house.ask("a", Operation::Request(call("contacts.list", &[]))).expect("allowed");
        let request = Some(house.last_id());
        let (leaves, read) = (contacts(), places.read);
        let tool = name("contacts.list");
        returned(&mut house, ToolOutcome { leaves, tool, read, ..outcome("local-read", request) });
        house
    };
    check(&mut reading(&["from:me"]), "a", &pay("bob@x.org"), Ok(Some(1)));
    check(&mut reading(&["untrusted:web"]), "a", &pay("bob@x.org"), Err("plan.argument"));
}

#[test]
fn a_selector_that_is_about_two_or_none_binds_nothing() {
    let reading = |leaves: Vec<Leaf>| {
        let mut house = asked(&["Bob"]);
        let slots =
            vec![named("contacts", slot("contacts.list", &[])), slot("pay", &[("to", email_of("Bob"))])];
        house.ask("a", plan("a", slots)).expect("allowed");
        read(&mut house, "contacts.list", leaves, &[]);
        house
    };
    let second =
        [contacts(), vec![leaf("/*/name", 2, "Bob"), leaf("/*/email", 2, "eve@evil.example")]].concat();
    for email in ["bob@x.org", "eve@evil.example"] {
        check(&mut reading(second.clone()), "a", &pay(email), Err("plan.argument"));
    }
    let without = contacts().into_iter().filter(|leaf| leaf.value != text("Bob")).collect();
    check(&mut reading(without), "a", &pay("bob@x.org"), Err("plan.argument"));
    check(&mut reading(Vec::new()), "a", &pay("bob@x.org"), Err("plan.argument"));
}

#[test]
fn of_a_read_that_is_too_long_no_list_binds() {
    // The second Bob is past what is remembered: whoever adds elements would choose which one is the only one.
    let filling = |many: u32| (2..many).map(|i| leaf("/*/name", i, &i.to_string()));
    let reading = |many: u32| {
        let mut house = asked(&["Bob", "m1"]);
        let owner = Source::Leaf(Selector {
            read: name("contacts"),
            pointer: PointerId::of("/owner"),
            elements: PointerId::of("/owner/*"),
            keys: Vec::new(),
        });
        let slots = vec![
            named("contacts", slot("contacts.list", &[])),
            slot("pay", &[("to", email_of("Bob"))]),
            slot("mail", &[("to", owner)]),
        ];
        house.ask("a", plan("a", slots)).expect("allowed");
        let owner = Leaf { at: Vec::new(), ..leaf("/owner", 0, "ann@x.org") };
        let leaves = [vec![owner], contacts(), filling(many).collect()].concat();
        read(&mut house, "contacts.list", leaves, &[]);
        house.because(&["untrusted:web"]);
        house
    };
    let most = u32::try_from(MAX_LEAVES).expect("few") - 5;
    check(&mut reading(most), "a", &pay("bob@x.org"), Ok(Some(1)));
    check(&mut reading(most + 1), "a", &pay("bob@x.org"), Err("plan.argument"));
    let mail = call("mail", &[("to", Value::One(text("ann@x.org")))]);
    check(&mut reading(most + 1), "a", &mail, Ok(Some(2)));
}

#[test]
fn a_named_read_takes_no_argument_without_a_source() {
    // Else whoever wrote the page chooses whose address `contact.email` is.
    let mut house = asked(&["Bob"]);
    let email = Source::Leaf(Selector {
        read: name("contact"),
        pointer: PointerId::of("/email"),
        elements: PointerId::of("/email/*"),
        keys: Vec::new(),
    });
    let slots = vec![named("contact", slot("contact.list", &[])), slot("pay", &[("to", email)])];
    house.ask("a", plan("a", slots)).expect("allowed");
    let before = house.log.len();
    house
        .ask("a", Operation::Request(call("contact.list", &[("query", Value::One(text("Eve")))])))
        .expect("a read");
    assert_eq!(house.log.len(), before, "it fills no slot, and nothing of it is remembered");
    check(&mut house, "a", &pay("eve@evil.example"), Err("plan.argument"));
}

#[test]
fn pinned_data_is_bound_as_control_arguments_are() {
    let mut house = asked(&["bob@x.org", "Rent"]);
    let slots = vec![slot("pay", &[("to", literal("bob@x.org")), ("subject", literal("Rent"))])];
    house.ask("a", plan("a", slots)).expect("allowed");
    house.because(&["untrusted:web"]);
    let with = |subject: &str| {
        call("pay", &[("to", Value::One(text("bob@x.org"))), ("subject", Value::One(text(subject)))])
    };
    check(&mut house, "a", &with("Rent for Eve"), Err("plan.argument"));
    check(&mut house, "a", &pay("bob@x.org"), Err("plan.argument"));
    check(&mut house, "a", &with("Rent"), Ok(Some(0)));
}

#[test]
fn urls_and_private_values_in_the_data_ask() {
    let check = |mentions: &[&str], phrases: &[&str], expected| {
        check(&mut with_second_read(), "a", &with_data(mentions, phrases), expected);
    };
    check(&["https://evil.example/?q=1"], &[], Err("plan.mention"));
    check(&["evil@evil.example"], &[], Err("plan.mention"));
    // In the request, and in a trusted read.
    check(&["https://good.example"], &[], Ok(Some(2)));
    check(&["eve@evil.example"], &[], Ok(Some(2)));
    check(&["https://good.example", "https://good.example/more"], &[], Err("plan.mention"));
    // The PIN of an account that the slot has nothing to do with; then what the slot's own read says, and the request.
    check(&[], &["dear", "9999-8888"], Err("plan.private"));
    check(&[], &["dear", "4711-0815"], Ok(Some(2)));
    check(&[], &["Bob", "hello"], Ok(Some(2)));
    check(&[], &["yes"], Ok(Some(2)));
    let mut long = with_data(&[], &[]);
    long.traced.as_mut().expect("traced").cut = true;
    self::check(&mut with_second_read(), "a", &long, Err("plan.mention"));
    // Looked up either way.
    let many: Vec<String> = (0..100).map(|i| format!("word {i}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&[], &many, Ok(Some(2)));
    many.push("9999-8888");
    check(&[], &many, Err("plan.private"));
}

/// Bob is to be paid; the accounts were read too.
pub(crate) fn with_second_read() -> House {
    let mut house = asked(&["Bob", "https://good.example"]);
    let slots = vec![
        named("contacts", slot("contacts.list", &[])),
        named("accounts", slot("accounts.list", &[])),
        slot("pay", &[("to", email_of("Bob"))]),
    ];
    house.ask("a", plan("a", slots)).expect("allowed");
    read(&mut house, "contacts.list", contacts(), &[]);
    let short = Leaf { telling: false, ..leaf("/*/open", 0, "yes") };
    read(
        &mut house,
        "accounts.list",
        vec![leaf("/*/pin", 0, "9999-8888"), leaf("/*/name", 0, "Bob"), short],
        &[],
    );
    house.because(&["untrusted:web"]);
    house
}

#[test]
fn a_bound_payee_does_not_bind_the_amount() {
    let paying = |most: Option<&str>, money: &str| {
        let mut house = asked(&["bob@x.org"]);
        let most = most.map(|text| text.parse().expect("money"));
        let slots = vec![Slot { most, ..slot("pay", &[("to", literal("bob@x.org"))]) }];
        house.ask("a", plan("a", slots)).expect("allowed");
        house.because(&["untrusted:web"]);
        let governed = vec![("amount".to_owned(), GovernedArgument::Money(money.parse().expect("money")))];
        (house, ToolRequest { governed, ..pay("bob@x.org") })
    };
    for (most, money, expected) in [
        (Some("20 USD"), "20 USD", Ok(Some(0))),
        (Some("20 USD"), "20.01 USD", Err("plan.amount")),
        (Some("20 USD"), "1 EUR", Err("plan.amount")),
        (None, "0.01 USD", Err("plan.amount")),
    ] {
        let (mut house, call) = paying(most, money);
        check(&mut house, "a", &call, expected);
    }
    // With a person's word it fills the slot.
    let (mut house, call) = paying(None, "5 USD");
    check(&mut house, "a", &call, Err("plan.amount"));
    let approval = house.last_id();
    let causes = std::mem::take(&mut house.causes);
    house.ask("operator", decide(approval, ApprovalVerdict::AllowArguments)).expect("a person may");
    house.causes = causes;
    check(&mut house, "a", &call, Ok(Some(0)));
    check(&mut house, "a", &call, Ok(None));
}
