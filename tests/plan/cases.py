"""A planning problem with its plans, its rivals, and what came of them: the measurements behind the numbers of an issue."""

import functools

import numpy as np

from builder import metrics
from builder.plan import baseline, blend, planner, playing
from builder.plan.course import Course, Evidence
from builder.plan.judge import Judge
from builder.plan.lanes import Lane
from builder.plan.prices import Family, Prices
from builder.runtime.contract import Effort

LOGLOSS = metrics.get("logloss")


class Case:
    """A problem with its plans; accuracy in percentage points against the full weighted ensemble, logloss as a ratio to it."""

    def __init__(self, made):
        self.problem = made
        self.rows = len(made.truth)
        folds = tuple(range(made.folds))
        self.families = [Family(name, float(cost), folds) for name, cost in zip(made.names, made.cost, strict=True)]
        self.evidence = Evidence(made.oof, made.y, made.fold, made.unlabelled)
        heats, self.facts = planner.calibrated(self.evidence)
        self.cooled = np.stack([[planner.cooled(p, heat) for p in q] for q, heat in zip(made.test, heats, strict=True)])
        weights = blend.convex_weights(self.facts.oof, made.y)
        heat = blend.temperature(blend.pooled(self.facts.oof, weights), made.y)
        full = blend.pooled(self.cooled.mean(axis=1), weights)
        self.full = blend.tempered(full, heat)
        self.full_loss = min(blend.logloss(p, made.truth) for p in (full, self.full))
        self.played = {}

    def seconds(self, share):
        return share * self.problem.full * self.rows

    def measured(self, answers):
        """(accuracy against the full ensemble in points, logloss ratio, right answers)."""
        truth = self.problem.truth
        right = answers.argmax(axis=1) == truth
        points = 100 * (right.mean() - (self.full.argmax(axis=1) == truth).mean())
        return points, blend.logloss(answers, truth) / self.full_loss, right

    def plan(self, share):
        if share not in self.played:
            course = planner.course(self.families, self.evidence, LOGLOSS, budget_s=self.seconds(share), rows=self.rows)
            self.played[share] = (course, playing.play(course, self.problem.test, self.seconds(share)))
        return self.played[share]

    def fixed_list(self, share):
        """What people do: best first, all folds, equal weights, what fits."""
        order = baseline.best_first(self.evidence, LOGLOSS)
        chosen = baseline.fitting(self.families, order, self.seconds(share), self.rows)
        if not chosen:  # not even five folds of anything: one fold of the best that fits
            chosen = [next(f for f in order if self.families[f].seconds * self.rows <= self.seconds(share))]
            return self.problem.test[chosen[0], 0]
        return self.problem.test[chosen].mean(axis=(0, 1), dtype=np.float64)

    @functools.cached_property
    def prepared(self):
        prices = Prices.of_families(self.families, self.rows)
        return planner._prepared(self.families, self.facts, prices, equal=False)

    def rival(self, lane, effort, share):
        search, ground, _ = self.prepared
        steps = planner._steps(self.families, self.facts, lane, search, Judge(ground, search, LOGLOSS), equal=False)
        heats, _ = planner.calibrated(self.evidence)
        return playing.play(Course(tuple(self.families), heats, steps, effort), self.problem.test, self.seconds(share)).answers

    def static(self, share):
        """The best holding at that budget, the same for every sample."""
        search, ground, _ = self.prepared
        found = search.best(share * self.problem.full)
        return self.rival(Lane("static", found.chain, search, ground), Effort("static", (len(found.chain),)), share)

    def cascade(self, share):
        """All folds of Caruana's families, cheap to dear, each tier with its own temperature, the doubtful further."""
        search, ground, _ = self.prepared
        few = blend.sample(ground.y, planner.CARUANA_ROWS)
        picked = blend.caruana(ground.oof[:, few], ground.y[few], LOGLOSS, planner.CARUANA_ROUNDS)
        order = sorted(picked, key=lambda f: self.families[f].seconds)
        lane = Lane("cascade", tuple(f for f in order for _ in range(self.problem.folds)), search, ground)
        judge = Judge(ground, search, LOGLOSS)
        trials = [lane.trial(rule, share * self.problem.full) for rule in lane.rules(share * self.problem.full)]
        return self.rival(lane, max(trials, key=judge.merit).effort, share)

    def steps(self, share):
        """(length, true gain, predicted gain) of every step whose true gain exceeds two standard errors."""
        course, truth, before = self.plan(share)[0], self.problem.truth, None
        for start in range(0, len(course.steps), 8):
            lengths = range(start + 1, min(start + 8, len(course.steps)) + 1)
            for step, p in zip(course.steps[start:], playing.prefixes(course, self.problem.test, lengths), strict=False):
                loss = -np.log(np.maximum(p[np.arange(len(truth)), truth], 1e-12))
                if before is not None:
                    gain = before - loss
                    if abs(gain.mean()) > 2 * gain.std() / np.sqrt(len(gain)):
                        yield len(step.weights), gain.mean(), step.gain
                before = loss

    def folds_win(self):
        """(predicted, true) logloss that all folds of the full blend win over one of each."""
        search, ground, full = self.prepared
        made, single = self.problem, blend.temperature(blend.pooled(ground.oof, full), ground.y)
        said, heat = search.folds.gain(full, np.full(len(full), made.folds), single, planner.ROTATIONS)
        alone = [blend.tempered(blend.pooled(self.cooled[:, k], full), single) for k in range(made.folds)]
        average = blend.tempered(blend.pooled(self.cooled.mean(axis=1), full), heat)
        return said, np.mean([blend.logloss(p, made.truth) for p in alone]) - blend.logloss(average, made.truth)

    def greedy_and_everything(self, shares):
        """(share, loss of the best that greedy finds, loss of the best there is), one fold of each family."""
        search, _, _ = self.prepared
        single = type(search)(search.subsets, None, search.prices, [1] * len(self.families))
        for share in shares:
            budget = max(share * self.problem.cost.sum(), self.problem.cost.min())
            everything = min(single.loss(holding) for holding in single._all(budget))
            yield share, min(single.grow(seed, budget).loss for seed in single._seeds(budget)), everything
