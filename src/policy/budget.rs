//! A budget: a number of uses at once after a quiet period, and then one in each interval.

use std::time::Duration;

/// A token bucket in units of time: the interval is the price of one use.
#[derive(Debug)]
pub struct Budget {
    price: Duration,
    balance: Duration,
    /// The maximum balance.
    reserve: Duration,
    /// The time of the last deposit for elapsed time.
    deposited: Duration,
}

impl Budget {
    /// `reserve` uses at once, and one in each interval `price`.
    pub fn new(price: Duration, reserve: usize) -> Self {
        let reserve = price.saturating_mul(u32::try_from(reserve).unwrap_or(u32::MAX));
        Self {
            price,
            balance: reserve,
            reserve,
            deposited: Duration::ZERO,
        }
    }

    /// Adds a part of a use, up to the reserve.
    pub fn deposit(&mut self, amount: Duration) {
        self.balance = self.balance.saturating_add(amount).min(self.reserve);
    }

    /// Takes one use, if the balance allows.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        self.deposit(now.saturating_sub(self.deposited));
        self.deposited = self.deposited.max(now);
        let rest = self.balance.checked_sub(self.price);
        self.balance = rest.unwrap_or(self.balance);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Duration = Duration::from_millis(100);
    const RESERVE: usize = 128;

    fn withdrawn(budget: &mut Budget, now: Duration) -> usize {
        let mut count = 0;
        while budget.withdraw(now) {
            count += 1;
        }
        count
    }

    #[test]
    fn deposits_are_added_to_a_finite_reserve() {
        let mut budget = Budget::new(PRICE, RESERVE);
        let now = Duration::ZERO;
        assert_eq!(
            withdrawn(&mut budget, now),
            RESERVE,
            "the reserve is finite"
        );
        for _ in 0..50 {
            budget.deposit(PRICE / 5);
        }
        assert_eq!(withdrawn(&mut budget, now), 10, "a fifth of fifty");
    }

    #[test]
    fn elapsed_time_deposits_up_to_the_reserve() {
        let mut budget = Budget::new(PRICE, RESERVE);
        withdrawn(&mut budget, Duration::ZERO);
        let second = Duration::from_secs(1);
        assert_eq!(withdrawn(&mut budget, second), 10);
        assert_eq!(withdrawn(&mut budget, second * 2), 10);
        assert_eq!(withdrawn(&mut budget, second * 3_600), RESERVE);
    }

    /// Fractions of a use must not be lost.
    #[test]
    fn frequent_withdrawals_do_not_keep_the_bucket_empty() {
        let mut budget = Budget::new(PRICE, RESERVE);
        withdrawn(&mut budget, Duration::ZERO);
        let count = (1..=20_000_u32)
            .filter(|tick| budget.withdraw(Duration::from_micros(100) * *tick))
            .count();
        assert_eq!(count, 20, "ten per second, for two seconds");
    }
}
