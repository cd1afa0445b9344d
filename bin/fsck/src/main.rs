//! `ext4-fsck`: checks an ext2, ext3 or ext4 filesystem and repairs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ext4_cli::program::main("ext4-fsck", |args| ext4_fsck::run::run(&args))
}
