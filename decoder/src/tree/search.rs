//! Monte-Carlo tree search with UCT, knowing nothing of models.
//!
//! A node has a reward of its own, given when it is added, and a value made of what lies below it. From the root the
//! search goes to the child of greatest `v + C sqrt(ln N / n)`, with `v` its value, `n` its visits and `N` those of its
//! parent, until a node that has room for another child. Where nothing below a node can be added, it is closed, and
//! the search goes elsewhere.

/// What a node's value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    /// The greatest value of its children, and its own reward as long as there is room for another child, which may
    /// be as good: how good the best chain through it may be.
    #[default]
    Max,
    /// The mean reward of itself and all below it: how good chains through it are on average.
    Mean,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node<T> {
    /// What stands for it.
    pub content: T,
    /// The node before it; none of the root.
    pub parent: Option<usize>,
    /// The nodes after it.
    pub children: Vec<usize>,
    /// Its own reward.
    pub reward: f64,
    /// What is known of the chains through it.
    pub value: f64,
    /// How often it or something below it was added.
    pub visits: u32,
    /// How often a child was looked for.
    pub tries: usize,
    sum: f64,
    last: bool,
    closed: bool,
}

/// The tree.
#[derive(Debug, Clone)]
pub struct Tree<T> {
    nodes: Vec<Node<T>>,
    backup: Backup,
    exploration: f64,
    /// Children looked for of a node.
    branch: usize,
}

impl<T> Tree<T> {
    /// A tree of a root alone.
    pub fn new(root: T, backup: Backup, exploration: f64, branch: usize) -> Self {
        Self { nodes: vec![node(root, None, 0.0, false)], backup, exploration, branch }
    }

    /// The nodes in the order they were added, the root first.
    pub fn nodes(&self) -> &[Node<T>] {
        &self.nodes
    }

    /// Nodes from the first after the root to `at`.
    pub fn path(&self, at: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            next = self.nodes[at].parent;
            if next.is_some() {
                path.push(at);
            }
        }
        path.reverse();
        path
    }

    /// The node whose next child is to be looked for; none where everything was.
    pub fn select(&self) -> Option<usize> {
        let mut at = 0;
        loop {
            let node = self.nodes.get(at).filter(|node| !node.closed)?;
            if node.tries < self.branch {
                return Some(at);
            }
            let open = node.children.iter().copied().filter(|child| !self.nodes[*child].closed);
            let urgency = |child: &usize| {
                let child = &self.nodes[*child];
                child.value
                    + self.exploration * (f64::from(node.visits).ln() / f64::from(child.visits)).sqrt()
            };
            // Of equal ones the first.
            at = open.max_by(|a, b| urgency(a).total_cmp(&urgency(b)).then(b.cmp(a)))?;
        }
    }

    /// Takes note that a child of `parent` was looked for: the one found with its reward, and whether nothing follows
    /// it; or that there is none.
    pub fn add(&mut self, parent: usize, child: Option<(T, f64, bool)>) -> Option<usize> {
        self.nodes[parent].tries += 1;
        let new = child.map(|(content, reward, last)| {
            self.nodes.push(node(content, Some(parent), reward, last));
            self.nodes.len() - 1
        });
        if let Some(new) = new {
            self.nodes[parent].children.push(new);
        }
        let reward = new.map(|new| self.nodes[new].reward);
        let mut next = Some(new.unwrap_or(parent));
        while let Some(at) = next {
            self.update(at, reward.filter(|_| Some(at) != new));
            next = self.nodes[at].parent;
        }
        new
    }

    /// Makes value, visits and closedness of a node new, after `reward` was found below it.
    fn update(&mut self, at: usize, reward: Option<f64>) {
        let (full, children) = (self.nodes[at].tries >= self.branch, self.nodes[at].children.clone());
        let best = children.iter().map(|child| self.nodes[*child].value).max_by(f64::total_cmp);
        let shut = children.iter().all(|child| self.nodes[*child].closed);
        let node = &mut self.nodes[at];
        node.closed = node.last || full && shut;
        let Some(reward) = reward else { return };
        node.visits += 1;
        node.sum += reward;
        node.value = match (self.backup, best) {
            (Backup::Max, Some(best)) if full => best,
            (Backup::Max, best) => best.unwrap_or(node.reward).max(node.reward),
            (Backup::Mean, _) => node.sum / f64::from(node.visits),
        };
    }
}

/// A node that was visited once, for itself.
fn node<T>(content: T, parent: Option<usize>, reward: f64, last: bool) -> Node<T> {
    Node {
        content,
        parent,
        children: Vec::new(),
        reward,
        value: reward,
        visits: 1,
        tries: 0,
        sum: reward,
        last,
        closed: last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: usize = 6;

    /// Chains of 0 and 1. Those through 0 are all fair; of those through 1 one is perfect, the nearer the better, and
    /// all others are bad.
    fn reward(chain: &[u8]) -> f64 {
        match chain {
            [0, ..] => 0.55,
            [1] => 0.5,
            _ if chain.iter().all(|step| *step == 1) => 0.6 + 0.4 * chain.len() as f64 / DEPTH as f64,
            _ => 0.0,
        }
    }

    /// The best whole chain that so many nodes find.
    fn search(backup: Backup, iterations: usize) -> Option<Vec<u8>> {
        let mut tree = Tree::new(Vec::new(), backup, 0.2, 2);
        for _ in 0..iterations {
            let Some(at) = tree.select() else { break };
            let node = &tree.nodes()[at];
            let step = u8::try_from(node.tries).unwrap();
            let chain: Vec<u8> = node.content.iter().copied().chain([step]).collect();
            let (reward, last) = (reward(&chain), chain.len() == DEPTH);
            tree.add(at, Some((chain, reward, last)));
        }
        let whole = tree.nodes().iter().filter(|node| node.content.len() == DEPTH);
        whole.max_by(|a, b| a.reward.total_cmp(&b.reward)).map(|node| node.content.clone())
    }

    #[test]
    fn the_greatest_value_finds_a_planted_chain_that_the_mean_does_not() {
        let planted = vec![1; DEPTH];
        assert_eq!(search(Backup::Max, 24), Some(planted.clone()));
        assert_ne!(search(Backup::Mean, 24), Some(planted.clone()));
        // Whatever the values, in the end everything was looked at.
        assert_eq!(search(Backup::Mean, 126), Some(planted));
    }

    #[test]
    fn values_by_hand_and_nodes_that_close() {
        for (backup, expected) in [(Backup::Max, 0.9), (Backup::Mean, (0.2 + 0.9) / 2.0)] {
            let mut tree = Tree::new("", backup, 0.0, 1);
            let child = tree.add(0, Some(("a", 0.2, false))).unwrap();
            let leaf = tree.add(child, Some(("b", 0.9, true))).unwrap();
            assert!((tree.nodes()[child].value - expected).abs() < 1e-12);
            assert_eq!(tree.path(leaf), [child, leaf]);
            assert_eq!(tree.select(), None);
        }
        let mut tree = Tree::new("", Backup::Max, 0.0, 2);
        tree.add(0, None);
        assert_eq!(tree.select(), Some(0));
        tree.add(0, None);
        assert_eq!(tree.select(), None);
    }

    #[test]
    fn exploration_goes_where_nobody_was() {
        let visits = |exploration: f64| {
            let mut tree = Tree::new(0, Backup::Max, exploration, 2);
            for _ in 0..60 {
                let at = tree.select().unwrap();
                let side = if at == 0 { tree.nodes()[0].tries } else { tree.nodes()[at].content };
                tree.add(at, Some((side, [0.6, 0.4][side], false)));
            }
            tree.nodes()[2].visits
        };
        assert_eq!(visits(0.0), 1);
        assert!(visits(1.0) > 15, "{}", visits(1.0));
    }
}
