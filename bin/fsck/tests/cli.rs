//! The command line: what every program has to refuse, and what is printed.

use ext4_testkit::{batteries, program::Program};

const PROGRAM: Program = Program {
    name: "ext4-fsck",
    exe: env!("CARGO_BIN_EXE_ext4-fsck"),
    args: |image| vec![image.into(), "-y".into()],
    writes: true,
};

batteries! {
    PROGRAM;
    accepts_help
    accepts_version
    rejects_a_bad_option
    rejects_no_arguments
    rejects_a_missing_image
    rejects_a_folder
    rejects_what_is_not_ext4
    rejects_a_truncated_image
    respects_a_read_only_image
}

#[test]
fn what_is_printed_is_what_the_cases_say() {
    trycmd::TestCases::new().case("../../fixtures/cli/ext4-fsck/*.trycmd");
}
