//! What each command says about itself, and about a command line that it does not understand.

use expect_test::{expect, expect_file};

use crate::{GUEST, says, stockade};

#[test]
fn each_command_has_help_with_examples_and_exit_codes() {
    for command in [
        "bench",
        "call",
        "compile",
        "completions",
        "doctor",
        "inspect",
        "new",
        "run",
    ] {
        let said = says(&[command, "--help"]);
        assert!(said.contains("Examples:\n  stockade "), "{said}");
        assert!(said.contains("Exit codes:\n"), "{said}");
        expect_file![format!("help/{command}.txt")].assert_eq(&said);
    }
    expect_file!["help/stockade.txt"].assert_eq(&says(&["--help"]));
    let version = format!("stockade {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(says(&["--version"]), version);
}

#[test]
fn completions_name_the_commands_and_their_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = says(&["completions", shell]);
        for word in ["inspect", "doctor", "timeout", "concurrency"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_refused_with_advice() {
    let refused = |words: &[&str]| {
        let output = stockade(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    };
    expect![[r#"
        error: unrecognized subcommand 'cal'

          tip: a similar subcommand exists: 'call'

        Usage: stockade <COMMAND>

        For more information, try '--help'.
    "#]]
    .assert_eq(&refused(&["cal"]));
    expect![[r#"
        error: the following required arguments were not provided:
          <MODULE>
          <FUNCTION>

        Usage: stockade call <MODULE> <FUNCTION> [JSON]...

        For more information, try '--help'.
    "#]]
    .assert_eq(&refused(&["call"]));
    expect![[r#"
        error: invalid value 'soon' for '--timeout <DURATION>': expected number at 0

        For more information, try '--help'.
    "#]]
    .assert_eq(&refused(&["call", GUEST, "add", "--timeout", "soon"]));
    assert_eq!(refused(&[]), says(&["--help"]));
}
