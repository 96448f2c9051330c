"""Makes golden/stats/*.csv: values of scipy and statsmodels that src/stats must reproduce.

Run:  python golden/make/stats.py            (from the project's folder; seconds)
Made with python 3, numpy, scipy and statsmodels at the versions named in each file's first line;
another version may move the last digit, which the tests' tolerance allows.

What has no ready function there is computed here by another road than the Rust code takes:
Tango's score test by numeric maximisation of the restricted likelihood, the bootstrap by a second
implementation of the documented generator, detectable differences by formula with scipy's
quantiles.
"""

import csv
import itertools
import random
from pathlib import Path

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

OUT = Path(__file__).resolve().parents[1] / "stats"
VERSIONS = f"numpy {np.__version__}, scipy {scipy.__version__}, statsmodels {statsmodels.__version__}"
RANDOM = random.Random(20230414)


def write(name, shows, header, rows):
    with open(OUT / f"{name}.csv", "w", newline="\n") as file:
        file.write(f"# {shows}; golden/make/stats.py, {VERSIONS}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow([repr(float(x)) if isinstance(x, (float, np.floating)) else x for x in row])


def shares():
    """0/n, n/n, n = 1, n = 6032, the exam sizes, and random ones."""
    for n in [1, 2, 3, 5, 10, 91, 92, 109, 110, 119, 123, 124, 323, 325, 1273, 6032, 1_000_000]:
        ks = {0, 1, n // 5, n // 2, n - 1, n} | {RANDOM.randint(0, n) for _ in range(3)}
        for k in sorted(k for k in ks if 0 <= k <= n):
            yield k, n


def intervals():
    for k, n in list(shares()):
        for level in (0.5, 0.9, 0.95, 0.99, 0.999999):
            if level not in (0.95, 0.99) and RANDOM.random() < 0.6:
                continue
            alpha = 1 - level
            wilson = proportion_confint(k, n, alpha, method="wilson")
            exact = proportion_confint(k, n, alpha, method="beta")
            # statsmodels leaves nan at the ends in some versions; the limits there are by definition.
            low = 0.0 if k == 0 else exact[0]
            high = 1.0 if k == n else exact[1]
            yield k, n, level, max(0.0, float(wilson[0])), min(1.0, float(wilson[1])), low, high


def binomial():
    ps = (1e-9, 0.01, 0.0919, 0.2, 0.5, 0.64, 0.99, 1 - 1e-9)
    for (k, n), p in itertools.product(list(shares()), ps):
        if RANDOM.random() < 0.55:
            continue
        yield k, n, p, stats.binom.pmf(k, n, p), stats.binom.sf(k - 1, n, p), stats.binom.cdf(k, n, p)


def mcnemars():
    cases = [(0, 0), (1, 0), (0, 1), (1, 1), (5, 0), (0, 6), (10, 10), (10, 11), (3, 17), (25, 40),
             (100, 140), (0, 60), (700, 800), (2999, 3033), (50_000, 50_700), (10**6, 10**6 + 4000)]
    cases += [(RANDOM.randint(0, 60), RANDOM.randint(0, 60)) for _ in range(60)]
    for b, c in cases:
        if b + c == 0:
            yield b, c, 1.0
        else:
            yield b, c, mcnemar([[0, b], [c, 0]], exact=True).pvalue


def z_tests():
    cases = [(43, 91, 11, 90), (52, 109, 30, 109), (74, 123, 32, 122), (0, 5, 3, 7), (5, 5, 1, 9),
             (1, 1, 0, 1), (0, 6032, 1, 6032)]
    for _ in range(60):
        n, m = RANDOM.randint(1, 400), RANDOM.randint(1, 400)
        cases.append((RANDOM.randint(0, n), n, RANDOM.randint(0, m), m))
    for k, n, l, m in cases:
        if k + l in (0, n + m):
            continue  # no variance: statsmodels gives nan, ours is z = 0 by definition
        z, p = proportions_ztest([k, l], [n, m])
        yield k, n, l, m, z, p


def holms():
    for size in (1, 2, 3, 3, 5, 12, 39, 100):
        ps = [RANDOM.random() ** RANDOM.choice([1, 3, 9]) for _ in range(size)]
        if size > 4:
            ps[1] = ps[3]
            ps[2], ps[4] = 0.0, 1.0
        yield " ".join(map(repr, ps)), " ".join(repr(float(p)) for p in multipletests(ps, method="holm")[1])


def kappas():
    for labels, n, agree in [(2, 10, 0.5), (5, 100, 0.8), (5, 1273, 0.95), (10, 818, 0.3), (3, 7, 1.0), (26, 377, 0.0)]:
        a = [RANDOM.randrange(labels) for _ in range(n)]
        b = [x if RANDOM.random() < agree else RANDOM.randrange(labels) for x in a]
        table = np.zeros((labels, labels))
        for x, y in zip(a, b):
            table[x, y] += 1
        text = lambda xs: "".join(chr(65 + x) for x in xs)
        yield text(a), text(b), cohens_kappa(table).kappa


def clustered():
    for groups, size, effect in [(2, 2, 0.0), (5, 3, 0.3), (50, 10, 0.0), (50, 10, 0.2), (91, 1, 0.1), (20, 7, -0.4)]:
        values, clusters = [], []
        for g in range(groups):
            shift = RANDOM.gauss(0, 0.5)
            for _ in range(RANDOM.randint(1, 2 * size) if size > 1 else 1):
                values.append(round(RANDOM.gauss(effect + shift, 0.7), 6))
                clusters.append(g * 3)
        fit = sm.OLS(values, np.ones(len(values))).fit(
            cov_type="cluster", cov_kwds={"groups": np.array(clusters), "use_correction": True}, use_t=True)
        low, high = fit.conf_int(0.05)[0]
        naive = stats.sem(values)
        yield (" ".join(map(repr, values)), " ".join(map(str, clusters)), fit.params[0], fit.bse[0],
               naive, fit.pvalues[0], low, high)


def normals():
    for z in (-37.0, -10.0, -5.5, -1.96, -1e-9, 0.0, 0.3, 1.0, 2.5758, 6.0, 8.0):
        yield "cdf", z, stats.norm.cdf(z)
    for p in (1e-300, 1e-20, 1e-6, 0.025, 0.2, 0.5, 0.500001, 0.8, 0.975, 0.9999995, 1 - 1e-15):
        yield "quantile", p, stats.norm.ppf(p)


def students():
    for t in (-40.0, -3.0, -1.0, 0.0, 0.5, 1.96, 2.01, 10.0):
        for df in (1, 2, 9, 49, 1000, 10**6):
            yield t, df, stats.t.cdf(t, df)


def powers():
    for n in (1, 10, 91, 109, 119, 123, 323, 374, 1273, 4183):
        for w in (0.05, 0.2, 0.4, 1.0):
            for alpha, power in ((0.05, 0.8), (0.01, 0.9)):
                z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
                d = z * np.sqrt(w / n)
                u = z * np.sqrt(w / 2 * (1 - w / 2) * (1 / n + 1 / (n + 7)))
                yield n, w, alpha, power, d if d <= w else "none", u if u <= 1 else "none"


def tango_z(b, c, n, supposed):
    """Score statistic with the second-only share found by maximising the likelihood."""
    other = n - b - c
    low, high = max(0.0, -supposed), (1 - supposed) / 2

    def loss(q):
        total = 0.0
        for count, p in ((b, q + supposed), (c, q), (other, 1 - 2 * q - supposed)):
            if count:
                if p <= 0:
                    return 1e300
                total -= count * np.log(p)
        return total

    def part(count, p):
        return 0.0 if not count else count / p if p > 0 else np.inf

    def slope(q):
        return part(b, q + supposed) + part(c, q) - part(2 * other, 1 - 2 * q - supposed)

    width = high - low
    a, z = low + width * 1e-15, high - width * 1e-15
    if slope(a) <= 0:
        q = low
    elif slope(z) >= 0:
        q = high
    else:
        q = optimize.brentq(slope, a, z, xtol=1e-300, rtol=8.9e-16)
    assert loss(min(max(q, a), z)) <= min(loss(a + width * f * 0.999) for f in np.linspace(0, 1, 101)) + 1e-6
    variance = n * (2 * q + supposed - supposed**2)
    return (b - c - n * supposed) / np.sqrt(variance)


def tangos():
    cases = [(0, 0, 5), (0, 0, 300), (0, 1, 44), (1, 1, 2), (12, 15, 91), (30, 10, 109), (25, 25, 123),
             (60, 55, 323), (5, 0, 92), (0, 9, 124), (3000, 2900, 6032), (1, 0, 1), (91, 0, 91)]
    for _ in range(25):
        n = RANDOM.randint(2, 400)
        b = RANDOM.randint(0, n)
        cases.append((b, RANDOM.randint(0, n - b), n))
    for b, c, n in cases:
        for margin in (0.01, 0.05, 0.1, 0.3):
            if margin != 0.05 and RANDOM.random() < 0.5:
                continue
            worse = stats.norm.sf(tango_z(b, c, n, -margin))
            better = stats.norm.cdf(tango_z(b, c, n, margin))
            crit = stats.norm.ppf(0.975)
            diff = (b - c) / n
            f = lambda s, t: tango_z(b, c, n, s) - t
            edge = 1 - 1e-7
            low = -1.0 if c == n else optimize.brentq(f, -edge, min(diff, edge) - 1e-11, args=(crit,), xtol=1e-14)
            high = 1.0 if b == n else optimize.brentq(f, max(diff, -edge) + 1e-11, edge, args=(-crit,), xtol=1e-14)
            yield b, c, n, margin, worse, better, low, high


MASK = (1 << 64) - 1


def split_mix(state):
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return state, z ^ (z >> 31)


class Xoshiro:
    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed, value = split_mix(seed)
            self.s.append(value)

    def next(self):
        s = self.s
        rotl = lambda x, k: ((x << k) | (x >> (64 - k))) & MASK
        result = (rotl((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        return result

    def below(self, bound):
        limit = (1 << 64) % bound
        while True:
            m = self.next() * bound
            if (m & MASK) >= limit:
                return m >> 64


def bootstraps():
    for n, groups, seed in [(7, 0, 1), (40, 0, 42), (30, 6, 7)]:
        values = [RANDOM.choice([-1, 0, 0, 1, 1]) for _ in range(n)]
        clusters = [RANDOM.randrange(groups) for _ in range(n)] if groups else []
        members = {}
        for v, g in zip(values, clusters or range(n)):
            members.setdefault(g, []).append(v)
        pools = [members[g] for g in sorted(members)]
        means = []
        for r in range(10_000):
            generator = Xoshiro((split_mix(seed)[1] + r) & MASK)
            drawn = [pools[generator.below(len(pools))] for _ in pools]
            means.append(sum(map(sum, drawn)) / sum(map(len, drawn)))
        low, high = np.percentile(means, [2.5, 97.5])
        yield (" ".join(map(str, values)), " ".join(map(str, clusters)), seed, 10_000,
               sum(values) / n, low, high)


def main():
    OUT.mkdir(exist_ok=True)
    write("intervals", "statsmodels proportion_confint, wilson and beta",
          ["successes", "trials", "level", "wilson_low", "wilson_high", "exact_low", "exact_high"], intervals())
    write("binomial", "scipy.stats.binom", ["successes", "trials", "p", "pmf", "at_least", "at_most"], binomial())
    write("mcnemar", "statsmodels mcnemar(exact=True)", ["first_only", "second_only", "p"], mcnemars())
    write("two_proportions", "statsmodels proportions_ztest", ["k", "n", "l", "m", "z", "p"], z_tests())
    write("holm", "statsmodels multipletests(method='holm')", ["p_values", "adjusted"], holms())
    write("kappa", "statsmodels cohens_kappa", ["first", "second", "kappa"], kappas())
    write("clustered", "statsmodels OLS on a constant, cov_type='cluster'; naive: scipy.stats.sem",
          ["values", "clusters", "mean", "standard_error", "naive", "p", "low", "high"], clustered())
    write("normal", "scipy.stats.norm", ["function", "argument", "value"], normals())
    write("student", "scipy.stats.t", ["t", "degrees", "cdf"], students())
    write("power", "formula with scipy.stats.norm quantiles",
          ["n", "discordance", "alpha", "power", "paired", "unpaired"], powers())
    write("tango", "score test by numeric maximisation (scipy.optimize.brentq), 95 % interval",
          ["first_only", "second_only", "total", "margin", "p_not_worse", "p_not_better", "low", "high"], tangos())
    write("bootstrap", "second implementation of the documented generator, numpy.percentile",
          ["differences", "clusters", "seed", "resamples", "estimate", "low", "high"], bootstraps())


if __name__ == "__main__":
    main()
