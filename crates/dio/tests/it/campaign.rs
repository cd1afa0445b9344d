//! Seeded random writes over many kinds of filesystem: content equals the model, e2fsck finds
//! nothing, the kernel reads the same bytes.

use crate::world::World;
use anyhow::{Context as _, Result, bail};
use ext4_dio::Sync;
use ext4_testkit::{
    image::{PROFILES, Profile, Recipe},
    oracle,
    rng::Rng,
};

/// How many writes in all; more by `EXT4_CAMPAIGN_WRITES`.
const WRITES: u32 = 2_400;

const FILES: [&str; 4] = ["/a", "/b", "/c", "/d"];

/// Those we write to: quota is refused by name.
fn profiles() -> impl Iterator<Item = &'static Profile> {
    PROFILES.iter().filter(|it| !it.options.contains("quota"))
}

#[test]
fn random_writes_equal_the_model_e2fsck_and_the_kernel() {
    let writes = std::env::var("EXT4_CAMPAIGN_WRITES").ok().and_then(|n| n.parse().ok());
    let writes: u32 = writes.unwrap_or(WRITES);
    let each = writes.div_ceil(u32::try_from(profiles().count()).unwrap());
    let mut total = Tally::default();
    for (i, profile) in profiles().enumerate() {
        let seed = 0xD10 + i as u64;
        let mut tally = Tally::default();
        let res = campaign(profile.name, seed, each, &mut tally)
            .with_context(|| format!("profile {}, seed {seed:#x}, after {tally:?}", profile.name));
        if let Err(err) = res {
            panic!("{err:#}");
        }
        println!("{}: {tally:?}", profile.name);
        total.add(&tally);
    }
    println!("all {} profiles: {total:?}", profiles().count());
}

#[derive(Debug, Default)]
struct Tally {
    writes: u32,
    no_space: u32,
    misaligned: u32,
    truncates: u32,
    fallocates: u32,
    creates: u32,
    e2fsck: u32,
    kernel: u32,
}

impl Tally {
    fn add(&mut self, it: &Self) {
        self.writes += it.writes;
        self.no_space += it.no_space;
        self.misaligned += it.misaligned;
        self.truncates += it.truncates;
        self.fallocates += it.fallocates;
        self.creates += it.creates;
        self.e2fsck += it.e2fsck;
        self.kernel += it.kernel;
    }
}

fn campaign(profile: &str, seed: u64, writes: u32, tally: &mut Tally) -> Result<()> {
    let recipe = FILES.iter().fold(Recipe::new(profile).mib(24), |it, path| it.write(path, []));
    let Some(image) = recipe.image() else { return Ok(()) };
    let mut world = World::new(&image, &FILES)?;
    let mut rng = Rng::new(seed);
    while tally.writes < writes {
        let path = *rng.pick(&FILES);
        match rng.below(14) {
            0 => {
                let size = rng.below(2 << 20) as u64;
                world.truncate(path, size).with_context(|| format!("truncate {path} to {size}"))?;
                tally.truncates += 1;
            }
            1 => {
                let (offset, len) = (rng.below(1 << 20) as u64, 1 + rng.below(1 << 20) as u64);
                let keep_size = rng.below(2) == 0;
                let what = || format!("fallocate {path} {offset}+{len}, keep size {keep_size}");
                world.fallocate(path, offset, len, keep_size).with_context(what)?;
                tally.fallocates += 1;
            }
            2 => {
                world.make_anew(path).with_context(|| format!("unlink and create {path}"))?;
                tally.creates += 1;
            }
            3 if tally.writes % 40 > 30 => {
                world.judge()?;
                tally.e2fsck += 1;
            }
            _ => write(&mut world, path, &mut rng, tally)?,
        }
    }
    world.judge()?;
    tally.e2fsck += 1;
    if !oracle::skip_without(&[oracle::Need::Kernel]) {
        world.judge_by_kernel()?;
        tally.kernel += 1;
    }
    Ok(())
}

fn write(world: &mut World, path: &str, rng: &mut Rng, tally: &mut Tally) -> Result<()> {
    let unit = *rng.pick(&[1, 512, 512, 1024, 4096, 4096]);
    let longest = *rng.pick(&[8 << 10, 64 << 10, 512 << 10, 4 << 20]);
    let size = world.size(path)?;
    let from = match rng.below(4) {
        0 => size,
        1 => size.saturating_sub(rng.below(20_000) as u64),
        2 => size + rng.below(100_000) as u64,
        _ => rng.below(usize::try_from(size.max(1))?) as u64,
    };
    let offset = from / unit * unit;
    let len = (1 + rng.below(longest)).next_multiple_of(usize::try_from(unit)?);
    let is_strict = rng.below(2) == 0;
    let sync = *rng.pick(&[Sync::None, Sync::None, Sync::Data, Sync::Full]);
    let chunk = *rng.pick(&[4096, 40_000, 1 << 20]);
    let what = format!("write {len} at {offset} of {path} (strict {is_strict}, chunk {chunk})");
    tally.writes += 1;
    let res = world
        .write(path, offset, len, |it| {
            it.is_strict = is_strict;
            it.sync = sync;
            it.chunk = chunk;
        })
        .with_context(|| what.clone())?;
    match res.map_err(|err| (err.errno(), err)) {
        Ok(_) => {}
        Err((28, _)) => {
            tally.no_space += 1;
            // Room for more.
            world.truncate(path, 0)?;
            tally.truncates += 1;
        }
        Err((22, _)) if is_strict && unit < 512 => tally.misaligned += 1,
        Err((errno, err)) => bail!("{what}: errno {errno}: {err}"),
    }
    Ok(())
}
