//! Properties of every config: none makes the reader panic, what is a plan keeps its invariants, and what is printed
//! from a model is read as that model.

use std::fmt::Write;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use innkeep::plan::{Guest, Kind, Layer, Plan, Users};

use crate::config_corpus::{Read, corpus};

#[path = "../../fuzz/entry/config.rs"]
mod entry;

proptest! {
    #[test]
    fn any_bytes_are_answered(data in vec(any::<u8>(), 0..2000)) {
        entry::config(&data);
    }

    #[test]
    fn any_lines_are_answered(lines in vec(line(), 0..40)) {
        entry::config(lines.join("\n").as_bytes());
    }
}

/// Something like a line of a config.
pub fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(innkeep::config::key::Key::ALL).prop_map(|key| key.name());
    let section = prop_oneof![
        Just("[host]".to_owned()),
        "\\[(guest|service|profile|link|bridge|gest) [a-d]\\]",
        "\\[[a-z]{0,3} ?[a-z\\]]{0,3}",
    ];
    let value = prop_oneof![
        "[a-d]( [a-d]){0,2}",
        "(yes|no|os|app|none|host|auto|exec|fd 3|always)",
        "[0-9]{1,12}(K|M|G|T|ms|s|m|h|)",
        "/[a-z./*]{0,8}",
        "\\PC{0,20}",
        "SIG(TERM|KILL|RTMIN\\+3)( 1s)?( SIGKILL)?",
        "[0-9]{1,7}:[0-9]{1,6}",
        "\"[a-z\\\\ ]{0,5}\"?",
    ];
    prop_oneof![
        2 => section,
        8 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "\\PC{0,30}",
        1 => Just("command = /bin/x \\".to_owned()),
    ]
}

/// A guest as a user thinks of it.
#[derive(Clone, Debug)]
pub struct Model {
    name: String,
    os: bool,
    command: Vec<String>,
    env: Vec<(String, String)>,
    description: String,
    memory_kib: Option<u64>,
    cpus_milli: Option<u32>,
    processes: Option<u32>,
    ephemeral: Option<bool>,
    readonly: bool,
    own_users: Option<u16>,
    after: Vec<prop::sample::Index>,
    layout: Vec<u8>,
}

fn model(name: String) -> impl Strategy<Value = Model> {
    let word = prop_oneof!["[a-zA-Z0-9/=:,.-]{1,12}", "\\PC{0,12}", "[\"\\\\ #a]{0,6}"];
    let text = (
        vec(word.clone(), 0..5),
        vec(("[A-Z]{1,6}", word.clone()), 0..3),
        word,
        vec(any::<prop::sample::Index>(), 0..3),
        vec(any::<u8>(), 16),
    );
    let numbers = (
        prop::option::of(64..1u64 << 30),
        prop::option::of(10..8_192_000u32),
        prop::option::of(1..4_194_304u32),
        prop::option::of(any::<bool>()),
        any::<bool>(),
        prop::option::of(2..1000u16),
    );
    (any::<bool>(), text, numbers).prop_map(move |(os, text, numbers)| {
        let (arguments, mut env, description, after, layout) = text;
        let (memory_kib, cpus_milli, processes, ephemeral, readonly, own_users) = numbers;
        let mut command = vec!["/bin/x".to_owned()];
        command.extend(arguments);
        env.sort();
        env.dedup_by(|(a, _), (b, _)| a == b);
        let readonly = readonly && ephemeral != Some(true);
        let name = name.clone();
        Model {
            name,
            os,
            command,
            env,
            description,
            memory_kib,
            cpus_milli,
            processes,
            ephemeral,
            readonly,
            own_users,
            after,
            layout,
        }
    })
}

pub fn models() -> impl Strategy<Value = Vec<Model>> {
    btree_set("[a-zA-Z0-9][a-zA-Z0-9_-]{0,20}", 1..12)
        .prop_flat_map(|names| names.into_iter().map(model).collect::<Vec<_>>())
        .prop_map(|mut models| {
            // Ranges of their own must not meet.
            let mut taken = std::collections::BTreeSet::new();
            for model in &mut models {
                model.own_users = model.own_users.filter(|slot| taken.insert(*slot));
            }
            models
        })
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A config that means `models`, laid out in one of many ways.
pub fn print(models: &[Model]) -> String {
    let mut text = String::new();
    for (index, model) in models.iter().enumerate() {
        let mut layout = model.layout.iter().copied().cycle();
        let mut next = || layout.next().unwrap();
        let mut line = |key: &str, value: &str| {
            let indent = ["", " ", "\t", "  "][usize::from(next() % 4)];
            let equals = ["=", " = ", "\t=\t", " \t =  "][usize::from(next() % 4)];
            let end = ["", " # note", "\t#", "   ", "\r"][usize::from(next() % 5)];
            let value = if next() % 3 == 0 { format!("\\\n  {value}") } else { value.to_owned() };
            let blank = ["", "\n", "# \"a comment \\\n", "\r\n"][usize::from(next() % 4)];
            writeln!(text, "{blank}{indent}{key}{equals}{value}{end}").unwrap();
        };
        line(&format!("[guest {}]#", model.name), "");
        line("kind", if model.os { "os" } else { "app" });
        line("root", &format!("/srv/{}", model.name));
        line("command", &model.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" \\ \n\t"));
        for (name, value) in &model.env {
            line("env", &format!("{name}={}", quoted(value)));
        }
        line("description", &quoted(&model.description));
        if let Some(kib) = model.memory_kib {
            line("memory", &format!("{kib}K"));
        }
        if let Some(milli) = model.cpus_milli {
            line("cpus", &format!("{}.{:03}", milli / 1000, milli % 1000));
        }
        if let Some(processes) = model.processes {
            line("processes", &processes.to_string());
        }
        if let Some(ephemeral) = model.ephemeral {
            line("ephemeral", if ephemeral { "yes" } else { "no" });
        }
        if model.readonly {
            line("readonly", "yes");
        }
        if let Some(slot) = model.own_users {
            line("userns", &format!("{}:65536", u32::from(slot) * 65_536));
        }
        if index > 0 {
            for after in &model.after {
                line("after", &models[after.index(index)].name);
            }
        }
    }
    text
}

fn assert_is(plan: &Plan, guest: &Guest, model: &Model, models: &[Model], index: usize) {
    let text = |text| plan.strings.str(text);
    let words = |list| plan.words.get(list).iter().map(|word| text(*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(text(guest.name), model.name);
    assert_eq!(guest.kind, if model.os { Kind::Os } else { Kind::App });
    assert_eq!(text(guest.root), format!("/srv/{}", model.name));
    assert_eq!(words(guest.command), model.command);
    let env: Vec<_> = model.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(words(guest.env), env);
    assert_eq!(text(guest.description), model.description);
    assert_eq!(guest.limits.memory_bytes, model.memory_kib.map(|kib| kib << 10));
    assert_eq!(guest.limits.cpus_milli, model.cpus_milli);
    assert_eq!(guest.limits.processes, model.processes.unwrap_or(1024));
    let layer = match (model.ephemeral, model.readonly) {
        (Some(true), _) => Layer::Memory,
        (_, true) => Layer::ReadOnly,
        _ if model.os => Layer::Shared,
        _ => Layer::ReadOnly,
    };
    assert_eq!(guest.layer, layer);
    if let Some(slot) = model.own_users {
        assert_eq!(guest.users, Some(Users { base: u32::from(slot) * 65_536, count: 65_536 }));
    }
    let mut after: Vec<_> =
        model.after.iter().filter(|_| index > 0).map(|after| &models[after.index(index)].name).collect();
    after.sort();
    after.dedup();
    let mut found: Vec<_> =
        plan.dependencies.get(guest.after).iter().map(|id| text(plan.guest(*id).unwrap().name)).collect();
    found.sort_unstable();
    assert_eq!(found, after);
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_it_was_meant(models in models()) {
        let text = print(&models);
        let read = Read::text(&text);
        prop_assert!(read.good, "{}\n{text}", read.report());
        entry::assert_invariants(&read.config, &read.plan);
        prop_assert_eq!(read.plan.guests.len(), models.len());
        for (index, model) in models.iter().enumerate() {
            assert_is(&read.plan, &read.plan.guests[index], model, &models, index);
        }
    }
}

#[test]
fn the_corpus_with_random_changes_is_answered() {
    let texts: Vec<Vec<u8>> =
        corpus("accepted").iter().chain(&corpus("rejected")).map(|path| std::fs::read(path).unwrap()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for text in &texts {
        entry::config(text);
    }
    for _ in 0..1500 {
        let mut text = texts[random.below(texts.len())].clone();
        for _ in 0..1 + random.below(4) {
            change(&mut text, &texts, &mut random);
        }
        entry::config(&text);
    }
}

/// One random change.
fn change(text: &mut Vec<u8>, texts: &[Vec<u8>], random: &mut Random) {
    const TOKENS: &[&str] = &[
        "\"",
        "\\",
        "\\\n",
        "#",
        "[",
        "]",
        "=",
        "\n",
        "\r\n",
        "\t",
        "..",
        "yes",
        "99999999999999999999",
        "\u{301}",
        "漢",
    ];
    let at = random.below(text.len() + 1);
    let end = (at + random.below(40)).min(text.len());
    match random.below(5) {
        0 => drop(text.drain(at..end)),
        1 => drop(text.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes())),
        2 => drop(text.splice(at..end, [random.below(256) as u8])),
        3 => {
            let piece = text[at..end].to_vec();
            let to = random.below(text.len() + 1);
            drop(text.splice(to..to, piece));
        }
        _ => {
            let other = &texts[random.below(texts.len())];
            let from = random.below(other.len() + 1);
            let piece = other[from..(from + 200).min(other.len())].to_vec();
            drop(text.splice(at..end, piece));
        }
    }
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}
