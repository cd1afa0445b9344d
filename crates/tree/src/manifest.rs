//! A manifest: lines that say of each file what it is and whom it belongs to, without being root.
//!
//! The form is mtree(5)'s, as BSD's mtree and bsdtar write it, with a few keywords more. Parsing is
//! pure; applying makes what is not there and changes what is.
//!
//! ```text
//! #mtree
//! /set uid=0 gid=0
//! ./dev              type=dir mode=755
//! ./dev/console      type=char mode=600 device=native,5,1
//! ./etc/shadow       mode=640 gid=42
//! ./usr/bin/ping     xattr.security.capability=0x0100000200200000000000000000000000000000
//! ./srv/**           selinux=system_u:object_r:var_t:s0
//! ./etc/motd         type=file contents=motd.txt
//! ./etc/machine-id   remove
//! ```

mod apply;
mod keywords;
mod pattern;
mod values;
mod words;

use self::{
    keywords::{Keywords, Type},
    pattern::{Part, Pattern},
};
use crate::{Error, Result, Time, Tree};
use std::path::Path;

/// What a manifest says, in its order.
#[derive(Clone, Debug)]
pub struct Manifest {
    file: Box<Path>,
    entries: Vec<Entry>,
}

/// What is said of one path, or of all that a pattern matches.
#[derive(Clone, Debug)]
struct Entry {
    line: u32,
    path: Pattern,
    keywords: Keywords,
}

impl Manifest {
    /// Reads a manifest; `file` is its name for messages, and what `contents=` is relative to.
    ///
    /// # Errors
    /// [`Error::Manifest`] with the line: a word that is no keyword, a value that is none, a path
    /// that leaves the tree.
    pub fn parse(file: &Path, text: &[u8]) -> Result<Self> {
        let mut parser = Parser::default();
        for (line, text) in words::lines(text) {
            let parsed = parser.line(line, &text);
            parsed.map_err(|why| Error::Manifest { file: file.to_path_buf(), line, why })?;
        }
        Ok(Self { file: file.into(), entries: parser.entries })
    }

    /// Makes in `tree` what the manifest describes and is not there, and changes what is. What is
    /// made and has no time of its own gets `time`.
    ///
    /// # Errors
    /// [`Error::Manifest`] with the line: nothing is there and nothing says what to make, what is
    /// there is of another kind, or contents cannot be found.
    pub fn apply(&self, tree: &mut Tree, time: Time) -> Result<()> {
        for entry in &self.entries {
            let applied = apply::apply(entry, tree, self.folder(), time);
            applied.map_err(|why| Error::Manifest {
                file: self.file.to_path_buf(),
                line: entry.line,
                why,
            })?;
        }
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }
}

#[derive(Debug, Default)]
struct Parser {
    /// What `/set` said.
    defaults: Keywords,
    /// Directories whose entries follow without a slash, until `..`; nothing for `.` itself.
    inside: Vec<Option<Box<[u8]>>>,
    entries: Vec<Entry>,
}

impl Parser {
    fn line(&mut self, line: u32, text: &[u8]) -> std::result::Result<(), String> {
        let mut words = words::words(text);
        let Some(first) = words.next() else { return Ok(()) };
        match first {
            b"/set" => return self.defaults.read(words),
            b"/unset" => {
                for word in words {
                    self.defaults.unset(word)?;
                }
                return Ok(());
            }
            b".." => {
                // Words behind mean nothing, as mtree(5) says.
                return match self.inside.pop() {
                    Some(_) => Ok(()),
                    None => Err("found `..`, expected a directory to leave".to_owned()),
                };
            }
            _ => {}
        }
        let mut keywords = self.defaults.clone();
        keywords.read(words)?;
        let mut path = pattern::parse(first)?;
        let is_named = self.inside.iter().any(Option::is_some);
        if first.contains(&b'/') {
            if is_named {
                return Err(format!(
                    "found the whole path `{}` inside of the directory `{}`, expected a name or \
                     `..` first (a directory with a slash before its name, ./NAME, is not entered)",
                    first.escape_ascii(),
                    self.inside_name()
                ));
            }
        } else {
            let name = match path.parts.first() {
                Some(Part::Name(name)) => Some(Some(name.clone())),
                Some(_) => None,
                None => Some(None),
            };
            let above = self.inside.iter().flatten().cloned().map(Part::Name);
            path.parts.splice(0..0, above);
            if keywords.kind == Some(Type::Directory)
                && !keywords.remove
                && let Some(level) = name
            {
                self.inside.push(level);
            }
        }
        self.entries.push(Entry { line, path, keywords });
        Ok(())
    }

    fn inside_name(&self) -> String {
        let names: Vec<_> =
            self.inside.iter().flatten().map(|it| it.escape_ascii().to_string()).collect();
        names.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attributes, Kind, NodeId};

    const NOW: Time = Time { sec: 7, nsec: 0 };

    /// One line for each file: what it is, mode, owners, time and the rest.
    fn listing(tree: &Tree) -> Vec<String> {
        fn below(tree: &Tree, dir: NodeId, path: &str, lines: &mut Vec<String>) {
            for (name, id) in tree.names(dir) {
                let path = format!("{path}/{}", name.escape_ascii());
                let node = tree.node(id);
                let at = &node.attributes;
                let what = match &node.kind {
                    Kind::Symlink(target) => format!(" -> {}", target.escape_ascii()),
                    Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                        format!(" {major}:{minor}")
                    }
                    Kind::Regular(contents) => format!(" {} bytes", contents.size),
                    _ => String::new(),
                };
                lines.push(format!(
                    "{path} {} {:o} {}:{} {}.{}{what}",
                    node.kind.name(),
                    at.perms,
                    at.uid,
                    at.gid,
                    at.mtime.sec,
                    at.mtime.nsec
                ));
                below(tree, id, &path, lines);
            }
        }
        let mut lines = Vec::new();
        below(tree, NodeId::ROOT, "", &mut lines);
        lines
    }

    fn made(text: &str) -> Result<Tree> {
        let mut tree = Tree::new(Attributes::default());
        let manifest = Manifest::parse(Path::new("m.mtree"), text.as_bytes())?;
        manifest.apply(&mut tree, NOW)?;
        Ok(tree)
    }

    #[track_caller]
    fn refused(text: &str, why: &str) {
        assert_eq!(made(text).expect_err(text).to_string(), why);
    }

    #[test]
    fn whole_paths_as_bsdtar_writes_them() {
        let tree = made(
            "#mtree\n\
             . time=1700000000.5 mode=755 gid=0 uid=0 uname=root gname=root type=dir\n\
             ./dev time=5.0 mode=755 uid=0 type=dir nlink=2\n\
             ./dev/sda mode=660 gid=6 device=native,8,0 \\\n   time=-1.000000012 type=block\n\
             ./a\\040b mode=4755 uid=100000 gid=100000 type=file size=0 sha256=00\n\
             ./lnk mode=755 type=link link=a\\040b\n",
        )
        .expect("good");
        assert_eq!(
            listing(&tree),
            [
                "/a b regular file 4755 100000:100000 7.0 0 bytes",
                "/dev directory 755 0:0 5.0",
                "/dev/sda block device 660 0:6 -1.12 8:0",
                "/lnk symbolic link 777 0:0 7.0 -> a b",
            ]
        );
        assert_eq!(tree.node(NodeId::ROOT).attributes.mtime, Time { sec: 1_700_000_000, nsec: 5 });
    }

    #[test]
    fn nested_names_as_mtree_writes_them() {
        let tree = made(
            "#mtree\n/set type=file uid=1 gid=2 mode=0640\n\
             .   type=dir mode=755\n    one\n    sub type=dir mode=700\n        two uid=3\n\
             \x20       pipe type=fifo\n    ..\n/unset gid\n    three\n..\n",
        )
        .expect("good");
        assert_eq!(
            listing(&tree),
            [
                "/one regular file 640 1:2 7.0 0 bytes",
                "/sub directory 700 1:2 7.0",
                "/sub/pipe fifo 640 1:2 7.0",
                "/sub/two regular file 640 3:2 7.0 0 bytes",
                "/three regular file 640 1:0 7.0 0 bytes",
            ]
        );
    }

    #[test]
    fn what_is_there_is_changed_and_removed() {
        let tree = made(
            "./a type=file uid=5\n./b hardlink=./a\n./d/x type=char device=1,3\n./d/y type=socket\n\
             ./a gid=6 mode=600\n./d/x mode=666\n./d/y remove\n./none optional mode=0\n\
             ./s/t type=link link=one\n./s/t link=two\n",
        )
        .expect("good");
        assert_eq!(
            listing(&tree),
            [
                "/a regular file 600 5:6 7.0 0 bytes",
                "/b regular file 600 5:6 7.0 0 bytes",
                "/d directory 755 0:0 7.0",
                "/d/x character device 666 0:0 7.0 1:3",
                "/s directory 755 0:0 7.0",
                "/s/t symbolic link 777 0:0 7.0 -> two",
            ]
        );
        assert_eq!(tree.find(&[b"a"]), tree.find(&[b"b"]));
    }

    #[test]
    fn patterns_reach_what_they_match_and_what_is_of_the_type() {
        let tree = made(
            "./a/1.sh type=file\n./a/2.txt type=file\n./a/b/3.sh type=file\n./a/\\052 type=file\n\
             ./a/*.sh mode=755\n./a/** type=file uid=9\n./**/b gid=4\n./a/[!3].txt mode=600\n\
             ./a/\\052 mode=1\n./q?* optional mode=0\n",
        )
        .expect("good");
        assert_eq!(
            listing(&tree),
            [
                "/a directory 755 0:0 7.0",
                "/a/* regular file 1 9:0 7.0 0 bytes",
                "/a/1.sh regular file 755 9:0 7.0 0 bytes",
                "/a/2.txt regular file 600 9:0 7.0 0 bytes",
                "/a/b directory 755 0:4 7.0",
                "/a/b/3.sh regular file 644 9:0 7.0 0 bytes",
            ]
        );
    }

    #[test]
    fn attributes_come_as_getfattr_and_getfacl_write_them() {
        let tree = made(
            "./a type=file xattr.user.t=a\\040b xattr.user.q=\"x\" xattr.user.h=0x0aFF \
             xattr.user.b=0sSGk= selinux=u:r:t:s0 acl=u::rw-,u:7:r--,g::---,m::r--,o::---\n",
        )
        .expect("good");
        let file = &tree.node(tree.find(&[b"a"]).expect("made")).attributes;
        let shown: Vec<_> = file
            .xattrs
            .iter()
            .filter(|it| &**it.0 != crate::acl::ACCESS)
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        assert_eq!(
            shown,
            [
                "security.selinux=u:r:t:s0\\x00",
                "user.b=Hi",
                "user.h=\\n\\xff",
                "user.q=x",
                "user.t=a b"
            ]
        );
        assert_eq!(file.perms, 0o640);
        assert!(file.xattrs.contains_key(crate::acl::ACCESS));
    }

    #[test]
    fn contents_are_found_beside_the_manifest() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("motd"), b"hello").expect("a file");
        let mut tree = Tree::new(Attributes::default());
        let file = folder.path().join("m");
        let text = b"./etc/motd type=file contents=motd size=5\n";
        let res = Manifest::parse(&file, text).and_then(|it| it.apply(&mut tree, NOW));
        let wrong = Manifest::parse(&file, b"./etc/motd size=6\n").expect("good");
        let wrong = wrong.apply(&mut tree, NOW).expect_err("another size").to_string();
        let id = tree.find(&[b"etc", b"motd"]);
        let read = id.map(|id| match &tree.node(id).kind {
            Kind::Regular(contents) => {
                let mut buf = [0; 5];
                contents.open().and_then(|it| it.read_at(0, &mut buf)).map(|()| buf)
            }
            _ => Ok([0; 5]),
        });
        res.expect("good");
        assert_eq!(read.expect("made").expect("readable"), *b"hello");
        assert_eq!(
            wrong,
            format!("{}:1: etc/motd: found 5 bytes, expected size=6", file.display())
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_line() {
        for (text, why) in [
            ("\n#\n./a mode=644\n", "m.mtree:3: a: nothing is there, expected type= to make it"),
            ("./a type=file foo=1\n", "m.mtree:1: `foo` is no keyword"),
            (
                "./a type=pipe\n",
                "m.mtree:1: type: found `pipe`, expected block, char, dir, fifo, file, link or socket",
            ),
            ("./a type=file mode=u+x\n", "m.mtree:1: mode: found `u+x`, expected octal up to 7777"),
            (
                "./a type=file uname=www\n",
                "m.mtree:1: found uname without uid, expected both: names are not looked up",
            ),
            (
                "./a type=file flags=schg\n",
                "m.mtree:1: flags: found `schg`, expected none: file flags are not made",
            ),
            ("./a type=char\n", "m.mtree:1: a: type=char without device="),
            ("./a type=link\n", "m.mtree:1: a: type=link without link="),
            ("./a type=file size=3\n", "m.mtree:1: a: size=3 without contents="),
            (
                "./a type=char device=native,4096,0\n",
                "m.mtree:1: device: found 4096,0, expected numbers below 4096 and 1048576",
            ),
            (
                "./a type=dir\n./a type=file\n",
                "m.mtree:2: a: found a directory, expected type=file",
            ),
            ("./a type=dir\n./b hardlink=./a\n", "m.mtree:2: b: a hard link to a directory"),
            ("./b hardlink=./a\n", "m.mtree:1: b: no hardlink=a is there"),
            ("./a/../b type=file\n", "m.mtree:1: ./a/../b: would leave the tree"),
            ("..\n", "m.mtree:1: found `..`, expected a directory to leave"),
            ("./*.c mode=1\n", "m.mtree:1: *.c: nothing of that pattern is there"),
            (". remove\n", "m.mtree:1: .: the root cannot be removed"),
            (
                "./a type=file time=x\n",
                "m.mtree:1: time: found `x`, expected seconds and nanoseconds such as 1700000000.000000000",
            ),
            (
                "./a type=file xattr.user.a=0x1\n",
                "m.mtree:1: xattr.user.a: found `0x1`, expected pairs of hexadecimal digits",
            ),
            (
                "./a type=file xattr.user.a=0s!!\n",
                "m.mtree:1: xattr.user.a: found `0s!!`, expected base64",
            ),
            (
                "./a type=file xattr.a=1\n",
                "m.mtree:1: xattr.a: expected a whole name such as user.NAME",
            ),
            (
                "./a type=fifo xattr.user.a=1\n",
                "m.mtree:1: a: user.a on a fifo, which has no attributes of users",
            ),
            (
                "./a type=file default-acl=u::7,g::7,o::7\n",
                "m.mtree:1: a: default-acl on a regular file, expected a directory",
            ),
            ("./a type=file acl=u::7\n", "m.mtree:1: acl: no entry `group::`, expected one"),
            ("./a\\9 type=file\n", "m.mtree:1: found the escape `\\9`, expected such as \\040"),
            (
                "dev type=dir\n./etc/x type=file\n",
                "m.mtree:2: found the whole path `./etc/x` inside of the directory `dev`, expected a \
                 name or `..` first (a directory with a slash before its name, ./NAME, is not entered)",
            ),
            ("./a type=file\n./a/b type=file\n", "m.mtree:2: a/b: a is a regular file"),
        ] {
            refused(text, why);
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused() {
        let seeds: [&[u8]; 5] = [
            b"./a\\040[b]*/**/? type=file xattr.user.a=0sAA== acl=u::7,g:3:7\n",
            b"/set type=dir\nx\n..\n/unset all\n./y device=native,1,2 type=char \\\n",
            b"./[ mode=1\n./[!] mode=1\n./[]-] mode=1\n./[a-",
            b"a type=file\\\n\\\n\\",
            b"./q time=.9 size=18446744073709551616 device=0xffffffffffffffff type=block",
        ];
        let mut state = 1_u64;
        for round in 0..20_000_u32 {
            let mut text = seeds[round as usize % seeds.len()].to_vec();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let random = state >> 33;
                let random = usize::try_from(random).unwrap_or(0);
                let (at, other) = (random % text.len(), random >> 16);
                text[at] = b"\\/*[]?.-=!,\n\t 0s\x00\xffa#"[other % 20];
            }
            if let Ok(manifest) = Manifest::parse(Path::new("m"), &text) {
                let mut tree = Tree::new(Attributes::default());
                // What cannot be applied is refused, which is fine here.
                let _ = manifest.apply(&mut tree, NOW);
            }
        }
    }
}
