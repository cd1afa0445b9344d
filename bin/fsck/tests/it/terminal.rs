//! What a person at a terminal sees and answers. `script` of util-linux makes the terminal.

use crate::rig::{EXE, Scratch, damaged, sound};
use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

/// What was shown, and the exit code.
struct Shown {
    text: String,
    code: Option<i32>,
}

/// Runs the program on a terminal and types the next of `keys` at each question. `None` without `script`.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn at_a_terminal(scratch: &Scratch, options: &str, keys: &[&str]) -> Option<Shown> {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: no script to make a terminal");
        return None;
    }
    // `exec`: a shell that waits would answer Ctrl-C itself and hide the program's exit code.
    let line = format!("exec '{EXE}' {options} '{}'", scratch.file.display());
    let mut child = Command::new("timeout")
        .args(["60", "script", "-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut text, mut keys, mut byte) = (Vec::new(), keys.iter(), [0]);
    while shown.read(&mut byte).unwrap() > 0 {
        text.push(byte[0]);
        if text.ends_with(b")? ")
            && let Some(key) = keys.next()
        {
            typed.write_all(key.as_bytes()).unwrap();
            typed.flush().unwrap();
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Some(Shown { text, code: child.wait().unwrap().code() })
}

#[test]
fn one_no_leaves_that_one_and_all_is_yes_to_the_rest() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    let Some(shown) = at_a_terminal(&scratch, "", &["what\n", "n\n", "a\n"]) else { return };
    assert_eq!(shown.code, Some(1 + 4), "{}", shown.text);
    assert_eq!(shown.text.matches("(y/n/a for all)? ").count(), 3, "{}", shown.text);
    assert_eq!(shown.text.matches(": left as it is [").count(), 1, "{}", shown.text);
    assert!(scratch.bytes() != image.bytes()[..]);
}

#[test]
fn ctrl_c_at_a_question_ends_the_run_and_nothing_is_written() {
    let Some(image) = damaged() else { return };
    let scratch = Scratch::new(&image);
    // No newline: the program does not wait for one.
    let Some(shown) = at_a_terminal(&scratch, "", &["y\n", "\x03"]) else { return };
    assert_eq!(shown.code, Some(32), "{}", shown.text);
    assert!(shown.text.contains("nothing was written"), "{}", shown.text);
    assert!(scratch.bytes() == image.bytes()[..]);
}

#[test]
fn a_terminal_has_a_bar_unless_it_is_not_wanted() {
    let Some(image) = sound() else { return };
    let scratch = Scratch::new(&image);
    for (options, has_bar) in [("-n", true), ("-n --no-progress", false), ("-n -q", false)] {
        let Some(shown) = at_a_terminal(&scratch, options, &[]) else { return };
        assert_eq!(shown.code, Some(0), "{}", shown.text);
        assert_eq!(shown.text.contains("checking inodes ["), has_bar, "{options}: {}", shown.text);
    }
}
