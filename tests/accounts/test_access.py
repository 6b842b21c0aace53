"""Who may see and do what."""

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from accounts.access import chat_caller, may_create_keys, require_operator, team_for, teams_of
from accounts.errors import LastOwner, NotAllowed
from accounts.models import AuditEntry, Membership, Role, Team, User
from accounts.teams import add_member, create_team, remove_member
from tests.factories import join, make_person, make_team

pytestmark = [pytest.mark.django_db, pytest.mark.spec("K4")]


def test_a_member_finds_the_team(red: Team, bob: User) -> None:
    assert team_for(bob, "red") == red


@pytest.mark.spec("S05")
def test_an_outsider_does_not_learn_that_the_team_exists(red: Team, charlie: User) -> None:
    with pytest.raises(Http404):
        team_for(charlie, "red")
    with pytest.raises(Http404):
        team_for(charlie, "nowhere")


@pytest.mark.spec("S16")
def test_a_name_that_postgresql_cannot_hold_is_no_team(alice: User) -> None:
    with pytest.raises(Http404):
        team_for(alice, "red\0")


def test_a_member_without_the_role_is_refused(red: Team, bob: User) -> None:
    with pytest.raises(PermissionDenied):
        team_for(bob, "red", role=Role.ADMIN)


@pytest.mark.parametrize(
    ("role", "enough"),
    [(Role.VIEWER, [1, 0, 0, 0]), (Role.MEMBER, [1, 1, 0, 0]), (Role.ADMIN, [1, 1, 1, 0]), (Role.OWNER, [1, 1, 1, 1])],
)
def test_each_role_holds_those_below_it(red: Team, role: Role, enough: list[int]) -> None:
    dora = make_person("Dora")
    join(red, dora, role)

    for least, may in zip([Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER], enough, strict=True):
        if may:
            assert team_for(dora, "red", role=least) == red
        else:
            with pytest.raises(PermissionDenied):
                team_for(dora, "red", role=least)


def test_being_an_operator_gives_no_right_inside_a_team(blue: Team, alice: User) -> None:
    assert alice.is_operator
    with pytest.raises(Http404):
        team_for(alice, "blue")
    with pytest.raises(NotAllowed):
        chat_caller(alice, blue)


def test_the_platform_does_not_exist_for_those_who_do_not_operate_it(alice: User, bob: User) -> None:
    assert require_operator(alice) == alice
    with pytest.raises(Http404):
        require_operator(bob)


def test_a_viewer_reads_reports_and_does_not_chat(red: Team) -> None:
    dora = make_person("Dora")
    join(red, dora, Role.VIEWER)

    assert team_for(dora, "red") == red
    with pytest.raises(NotAllowed):
        chat_caller(dora, red)


def test_members_make_keys_as_long_as_the_team_lets_them(red: Team, bob: User, alice: User) -> None:
    assert may_create_keys(bob, red)
    red.members_may_create_keys = False

    assert not may_create_keys(bob, red)
    assert may_create_keys(alice, red)


def test_somebody_who_was_deactivated_sees_nothing(red: Team, bob: User) -> None:
    bob.is_active = False
    with pytest.raises(PermissionDenied):
        teams_of(bob)


def test_the_last_owner_stays(red: Team, alice: User, bob: User) -> None:
    with pytest.raises(LastOwner):
        remove_member(team=red, user=alice, by=alice)
    with pytest.raises(LastOwner):
        add_member(team=red, user=alice, role=Role.MEMBER, by=alice)

    add_member(team=red, user=bob, role=Role.OWNER, by=alice)
    remove_member(team=red, user=alice, by=bob)
    assert list(Membership.objects.filter(team=red).values_list("user__name", "role")) == [("Bob", "owner")]


def test_two_teams_of_one_name_get_two_addresses(alice: User) -> None:
    assert [create_team(name="Café", owner=alice).slug for _ in range(3)] == ["cafe", "cafe-2", "cafe-3"]


def test_a_change_of_role_says_who_did_it_and_what_it_was_before(red: Team, alice: User, bob: User) -> None:
    add_member(team=red, user=bob, role=Role.ADMIN, by=alice)

    entry = AuditEntry.objects.filter(action="member.role_changed").get()
    assert (entry.actor, entry.subject_name, entry.detail) == (alice, "Bob", {"role": "admin", "before": "member"})


@pytest.mark.parametrize("teams", [1, 3])
def test_listing_ones_teams_takes_one_query(teams: int, django_assert_num_queries: object) -> None:
    dora = make_person("Dora")
    for number in range(teams):
        make_team(f"Team {number}", owner=dora)

    with django_assert_num_queries(1):  # type: ignore[operator]  # pytest-django's fixture is a function
        assert [team.name for team in teams_of(dora)] == [f"Team {number}" for number in range(teams)]
