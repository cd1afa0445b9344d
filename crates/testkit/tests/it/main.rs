//! The testkit, tested: oracles agree with recipes, planted bugs are found.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod images;
#[cfg(test)]
mod recovered;
#[cfg(test)]
mod view;
