//! The user's guide, typed as it stands: each command of its console blocks on the host of its prompt, each output
//! compared with what the guide shows.
//!
//! In the guide a block ```` ```console ```` has lines `h1# COMMAND` and below each what it prints, where `…` stands for
//! anything within a line, and a line of `…` alone for any lines. A command without output below it may print what it
//! likes. A YAML block whose first line is `# NAME.yaml` is a file of that name. A token that ends in `…` is a real one.

use crate::refusals::matches;
use crate::scene::{SETTLED, Scene};
use hopsack_lab::{Host, HostSpec, IMAGE, Inside, SegmentSpec, Topology, require, wait};
use std::fs;
use std::path::Path;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide.md");
/// What the guide's containers are made of; here it is the lab's image.
const GUIDES_IMAGE: &str = "busybox";
/// What the guide shows of a token.
const SHOWN_TOKEN: &str = "hopsack1.…";
/// What stands for anything.
const ANYTHING: &str = "…";

/// A part of the guide that does something.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A file to be written.
    File { name: String, text: String },
    /// A command and what it prints, if the guide shows that.
    Command { line: usize, host: String, command: String, prints: Vec<String> },
}

/// A prompt of a host's root and what follows it.
fn prompt(line: &str) -> Option<(&str, &str)> {
    let (host, command) = line.split_once("# ")?;
    let number = host.strip_prefix('h')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some((host, command))
}

/// The steps of a guide, in their order.
fn steps(guide: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut block: Option<(&str, Vec<(usize, &str)>)> = None;
    for (index, line) in guide.lines().enumerate() {
        match (line.strip_prefix("```"), block.take()) {
            (Some(kind), None) => block = Some((kind, Vec::new())),
            (Some(_), Some((kind, lines))) => steps.extend(steps_of(kind, &lines)),
            (None, Some((kind, mut lines))) => {
                lines.push((index + 1, line));
                block = Some((kind, lines));
            }
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a block does not end");
    steps
}

fn steps_of(kind: &str, lines: &[(usize, &str)]) -> Vec<Step> {
    match kind {
        "console" => {
            let mut steps = Vec::new();
            for (number, line) in lines {
                match (prompt(line), steps.last_mut()) {
                    (Some((host, command)), _) => steps.push(Step::Command {
                        line: *number,
                        host: host.to_owned(),
                        command: command.to_owned(),
                        prints: Vec::new(),
                    }),
                    (None, Some(Step::Command { prints, .. })) => prints.push((*line).to_owned()),
                    (None, _) => panic!("line {number}: output before any command: {line}"),
                }
            }
            steps
        }
        "yaml" => {
            let name = lines.first().and_then(|(_, line)| line.strip_prefix("# "));
            let name = name.filter(|name| name.ends_with(".yaml") && !name.contains('/'));
            let text = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
            name.map(|name| Step::File { name: name.to_owned(), text }).into_iter().collect()
        }
        // What is installed and configured once is shown with the package.
        _ => Vec::new(),
    }
}

/// A line without what is only there for the eye: columns are as wide as what stands in them.
fn in_words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether lines are as the guide shows them.
fn shows(prints: &[String], lines: &[&str]) -> bool {
    match prints.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == ANYTHING => {
            (0..=lines.len()).any(|skipped| shows(rest, &lines[skipped..]))
        }
        Some((first, rest)) => lines.split_first().is_some_and(|(line, lines)| {
            matches(&in_words(line), &in_words(first).replace(ANYTHING, "*")) && shows(rest, lines)
        }),
    }
}

/// Types a command until it prints what it shall: what one host did is on the others within a second, which a reader does
/// not notice. One that fails is not typed again; else what it said.
fn type_in(host: &Host, script: &str, prints: &[String]) -> Result<(), String> {
    let fails = prints.first().is_some_and(|line| line.starts_with("error: "));
    let (mut first, mut right) = (None, false);
    let tried = wait::until("the output that the guide shows", SETTLED, || {
        let output = host.exec(&["sh", "-c", script]).unwrap();
        let said = output.stdout.clone() + &output.stderr;
        right = output.success() != fails
            && (prints.is_empty() || shows(prints, &said.lines().collect::<Vec<_>>()));
        first.get_or_insert(said);
        right || !output.success()
    });
    if tried.is_ok() && right { Ok(()) } else { Err(first.unwrap_or_default()) }
}

#[test]
fn output_is_compared_line_by_line_with_gaps_where_the_guide_leaves_them() {
    let prints = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(shows(&prints("a … c\n…\nend"), &["a b c", "one", "two", "end"]));
    assert!(shows(&prints("a\n…"), &["a"]));
    assert!(!shows(&prints("a\nend"), &["a", "one", "end"]));
    assert!(!shows(&prints("a"), &["b"]));
    assert!(!shows(&prints("a"), &["a", "b"]));
}

#[test]
fn a_guide_is_read_as_files_and_commands() {
    let guide = "text\n```yaml\n# a.yaml\nkind: Pool\n```\n```sh\napt install x\n```\n```console\nh1# one two\nout\nh2# three\n```\n";
    let command = |line, host: &str, command: &str, prints: &[&str]| Step::Command {
        line,
        host: host.to_owned(),
        command: command.to_owned(),
        prints: prints.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(
        steps(guide),
        [
            Step::File { name: "a.yaml".to_owned(), text: "# a.yaml\nkind: Pool\n".to_owned() },
            command(10, "h1", "one two", &["out"]),
            command(12, "h2", "three", &[]),
        ]
    );
}

#[test]
fn what_the_guide_says_to_type_prints_what_it_shows() {
    require!(Root, Nft, Docker);
    let hosts = ["h1", "h2"];
    let topology = hosts
        .iter()
        .fold(Topology::builder().segment(SegmentSpec::new("lan", &["192.0.2.0/24"])), |topology, host| {
            topology.host(HostSpec::docker(host, &["lan"]))
        });
    let scene = Scene::agents(topology.build().unwrap());
    scene.lab.load_image().unwrap();
    for host in hosts {
        scene.host(host).docker(&["tag", IMAGE, GUIDES_IMAGE]).unwrap();
    }
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(scene.lab.name());
    fs::create_dir_all(&files).unwrap();
    for step in steps(&fs::read_to_string(GUIDE).unwrap()) {
        match step {
            Step::File { name, text } => fs::write(files.join(name), text).unwrap(),
            Step::Command { line, host, command, prints } => {
                let token = match command.contains(SHOWN_TOKEN) {
                    true => scene.token(),
                    false => String::new(),
                };
                let command = command.replace(SHOWN_TOKEN, &token);
                let script = format!("cd {} && {command}", files.display());
                type_in(&scene.host(&host), &script, &prints).unwrap_or_else(|said| {
                    let wanted = prints.join("\n");
                    panic!(
                        "line {line} of the guide, on {host}: {command}\n{said}\nthe guide shows\n{wanted}"
                    )
                });
            }
        }
    }
    fs::remove_dir_all(&files).unwrap();
    scene.end();
}
