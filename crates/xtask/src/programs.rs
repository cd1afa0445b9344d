//! The programs that have man pages and completions.

use clap::Command;
use ext4_cli::man::Section;

/// A program's command line and the prose of its page.
pub(crate) struct Program {
    pub(crate) command: Command,
    pub(crate) sections: &'static [Section],
}

/// All of them.
pub(crate) fn all() -> Vec<Program> {
    vec![
        Program { command: dio_write::command(), sections: dio_write::sections::SECTIONS },
        Program { command: ext4_debug::command(), sections: ext4_debug::sections::SECTIONS },
        Program { command: ext4_fsck::command(), sections: ext4_fsck::sections::SECTIONS },
        Program { command: ext4_mkfs_cli::command(), sections: ext4_mkfs_cli::sections::SECTIONS },
        Program { command: fsck_orphans::command(), sections: fsck_orphans::sections::SECTIONS },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_line_contradicts_itself() {
        for program in all() {
            program.command.debug_assert();
        }
    }

    #[test]
    fn each_binary_of_the_workspace_is_listed() {
        let bins = crate::root().unwrap().join("bin");
        assert_eq!(std::fs::read_dir(bins).unwrap().count(), all().len());
    }
}
