"""Tiers and limits as they are kept: who has which, what is told of a change, and what is in force."""

import io

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from accounts import revision
from accounts.keys import revoke_key
from accounts.models import AuditEntry, Team, User
from accounts.teams import remove_member
from billing.errors import TierMistake
from billing.limits.presets import BY_NAME
from billing.limits.tiers import (
    add_tier,
    bounds_of_key,
    change_tier,
    give_tier,
    limit_key,
    limit_member,
    load_preset,
    load_rules,
    remove_tier,
    tier_of,
)
from billing.limits.windows import NO_RULES, Bounds
from billing.models import KeyLimit, MemberLimit, Tier
from tests.factories import make_key, make_team

pytestmark = [pytest.mark.django_db, pytest.mark.spec("U4")]

SMALL = Bounds(requests_per_minute=60, tokens_per_day=100_000)


def limits_of(team: Team) -> dict[str, int]:
    subject = load_rules().teams.get(team.pk)
    return {rule.window.name: rule.limit for rule in subject.rules} if subject else {}


def test_nobody_is_limited_out_of_the_box(red: Team) -> None:
    make_key(red)
    assert load_rules() == NO_RULES
    assert tier_of(red) is None


def test_a_team_has_the_tier_it_was_given_else_the_one_for_all(alice: User, red: Team, blue: Team) -> None:
    small = add_tier(name="Small", bounds=SMALL, by=alice)
    wide = add_tier(name="Wide", bounds=Bounds(requests_per_minute=600), is_default=True, by=alice)
    give_tier(team=red, tier=small, by=alice)
    assert limits_of(red) == {"requests-per-minute": 60, "tokens-per-day": 100_000}
    assert limits_of(blue) == {"requests-per-minute": 600}
    assert (tier_of(red), tier_of(blue)) == (small, wide)
    green = make_team("Green", owner=alice, time_zone="Asia/Kathmandu")
    assert load_rules().teams[green.pk].days.zone == "Asia/Kathmandu"
    give_tier(team=red, tier=None, by=alice)
    assert limits_of(red) == {"requests-per-minute": 600}
    remove_tier(tier=wide, by=alice)
    assert load_rules() == NO_RULES


def test_one_tier_alone_is_for_all(alice: User) -> None:
    first = add_tier(name="First", bounds=SMALL, is_default=True, by=alice)
    second = add_tier(name="Second", bounds=SMALL, by=alice)
    change_tier(tier=second, name="Second", bounds=SMALL, is_default=True, by=alice)
    assert list(Tier.objects.filter(is_default=True)) == [second]
    with pytest.raises(IntegrityError), transaction.atomic():
        Tier.objects.filter(pk=first.pk).update(is_default=True)


def test_a_name_is_given_once(alice: User) -> None:
    add_tier(name="Small", bounds=SMALL, by=alice)
    other = add_tier(name="Other", bounds=SMALL, by=alice)
    with pytest.raises(TierMistake) as twice:
        add_tier(name="small", bounds=SMALL, by=alice)
    with pytest.raises(TierMistake):
        change_tier(tier=other, name="SMALL", bounds=SMALL, is_default=False, by=alice)
    assert twice.value.param == "name"
    change_tier(tier=other, name="OTHER", bounds=SMALL, is_default=False, by=alice)


@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_nothing_is_no_limit_that_can_be_kept(alice: User, value: int) -> None:
    tier = add_tier(name="Small", bounds=SMALL, by=alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        Tier.objects.filter(pk=tier.pk).update(requests_per_minute=value)


def test_each_change_says_who_did_what_and_is_seen_by_every_process(alice: User, red: Team) -> None:
    key = make_key(red).key
    before = revision.current()
    tier = add_tier(name="Small", bounds=SMALL, by=alice)
    change_tier(tier=tier, name="Small", bounds=Bounds(requests_per_minute=30), is_default=False, by=alice)
    change_tier(tier=tier, name="Small", bounds=Bounds(requests_per_minute=30), is_default=False, by=alice)
    give_tier(team=red, tier=tier, by=alice)
    give_tier(team=red, tier=tier, by=alice)
    limit_key(key=key, bounds=SMALL, by=alice)
    limit_key(key=key, bounds=SMALL, by=alice)
    limit_member(team=red, user=alice, bounds=SMALL, by=alice)
    told = AuditEntry.objects.filter(action__regex="^tier|tier_given|limited").order_by("pk")
    assert [(entry.action, entry.actor, entry.team) for entry in told] == [
        ("tier.added", alice, None),
        ("tier.changed", alice, None),
        ("team.tier_given", alice, red),
        ("key.limited", alice, red),
        ("member.limited", alice, red),
    ]
    changed = told[1].detail
    assert (changed["requests_per_minute"], changed["tokens_per_day"]) == ("60 → 30", "100000 → –")
    assert revision.current() == before + 5


def test_a_limit_that_is_taken_away_leaves_no_row(alice: User, red: Team) -> None:
    key = make_key(red).key
    limit_key(key=key, bounds=SMALL, by=alice)
    limit_member(team=red, user=alice, bounds=SMALL, by=alice)
    assert bounds_of_key(key) == SMALL
    limit_key(key=key, bounds=Bounds(), by=alice)
    limit_member(team=red, user=alice, bounds=Bounds(), by=alice)
    assert (KeyLimit.objects.count(), MemberLimit.objects.count(), load_rules()) == (0, 0, NO_RULES)


def test_revoked_keys_and_former_members_have_no_rules(alice: User, bob: User, red: Team) -> None:
    key = make_key(red).key
    limit_key(key=key, bounds=SMALL, by=alice)
    limit_member(team=red, user=bob, bounds=SMALL, by=alice)
    assert (list(load_rules().keys), list(load_rules().members)) == ([key.pk], [(red.pk, bob.pk)])
    revoke_key(key=key, by=alice)
    remove_member(team=red, user=bob, by=alice)
    assert load_rules() == NO_RULES


def test_presets_are_the_vendors_published_figures_and_change_nothing_that_is_there(alice: User) -> None:
    loaded = load_preset(preset=BY_NAME["cloud-temple"], by=alice)
    assert [(tier.name, tier.output_tokens_per_hour, tier.output_tokens_per_day) for tier in loaded] == [
        ("Cloud Temple 1", 150_000, 3_600_000),
        ("Cloud Temple 2", 300_000, 7_200_000),
        ("Cloud Temple 3", 450_000, 10_800_000),
        ("Cloud Temple 4", 600_000, 14_400_000),
    ]
    change_tier(tier=loaded[0], name="Cloud Temple 1", bounds=SMALL, is_default=False, by=alice)
    assert load_preset(preset=BY_NAME["cloud-temple"], by=alice) == []
    loaded[0].refresh_from_db()
    assert loaded[0].bounds == SMALL


def test_the_command_prints_the_tiers_that_are_new(db: None) -> None:
    told = []
    for _ in range(2):
        out = io.StringIO()
        call_command("load_tiers", "saptiva", stdout=out)
        told.append(out.getvalue())
    assert told == ["Saptiva Free\nSaptiva Developer\n", ""]
    free = Tier.objects.get(name="Saptiva Free")
    assert free.bounds == Bounds(
        requests_per_minute=60, requests_per_day=20_000, tokens_per_minute=60_000, tokens_per_day=20_000_000
    )


def test_the_rules_of_many_cost_as_many_questions_as_those_of_one(
    alice: User, red: Team, blue: Team, django_assert_num_queries: object
) -> None:
    tier = add_tier(name="Small", bounds=SMALL, by=alice)
    for number in range(3):
        limit_key(key=make_key(red).key, bounds=SMALL, by=alice)
        if number in {0, 2}:
            give_tier(team=red if number else blue, tier=tier, by=alice)
            limit_member(team=red, user=alice, bounds=Bounds(requests_per_day=number + 1), by=alice)
            with django_assert_num_queries(6):  # type: ignore[operator]  # pytest-django's
                assert len(load_rules().keys) == number + 1
