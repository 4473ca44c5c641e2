"""The table of what the API can be asked. What routes, checks and documents is made from it: a row is an operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from metrion.api import accounts, admins, budgets, guards, keys, metered, rules, tokens
from metrion.api.operation import Operation
from metrion.api.values import Named, Page, Paging

_CREATED, _EMPTY = HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
_MISSING: Mapping[HTTPStatus, str] = {HTTPStatus.NOT_FOUND: "Nothing that is in use has this name."}
_AGAINST: Mapping[HTTPStatus, str] = {
    HTTPStatus.CONFLICT: "The name is taken, what is there stands against it, or a value cannot be used."
}
_BOTH = {**_MISSING, **_AGAINST}

OPERATIONS: Sequence[Operation] = (
    Operation(name="listAccounts", method="GET", path="/accounts", summary="List the accounts.",
              run=accounts.list_accounts, query=Paging, answer=Page[accounts.AccountShown]),
    Operation(name="createAccount", method="POST", path="/accounts", summary="Make an account.",
              run=accounts.create_account, body=accounts.NewAccount, answer=accounts.AccountShown, status=_CREATED,
              fails=_AGAINST),
    Operation(name="getAccount", method="GET", path="/accounts/{name}", summary="Show an account.",
              run=accounts.get_account, place=Named, answer=accounts.AccountShown, fails=_MISSING),
    Operation(name="setAccount", method="PATCH", path="/accounts/{name}", summary="Put an account on another plan.",
              run=accounts.set_account, place=Named, body=accounts.AccountChange, answer=accounts.AccountShown,
              fails=_MISSING),
    Operation(name="removeAccount", method="DELETE", path="/accounts/{name}",
              summary="Remove an account that has no tokens, with its keys.", run=accounts.remove_account, place=Named,
              answer=accounts.RemovedAccount, fails=_BOTH),
    Operation(name="listPlans", method="GET", path="/plans", summary="List the plans.", run=accounts.list_plans,
              answer=accounts.Plans),

    Operation(name="listTokens", method="GET", path="/tokens", summary="List the tokens that were ever made.",
              run=tokens.list_tokens, query=tokens.TokenFilters, answer=Page[tokens.TokenShown]),
    Operation(name="createToken", method="POST", path="/tokens", summary="Make a token; its secret is shown this once.",
              run=tokens.create_token, body=tokens.NewToken, answer=tokens.MadeToken, status=_CREATED, fails=_BOTH),
    Operation(name="getToken", method="GET", path="/tokens/{name}", summary="Show a token.", run=tokens.get_token,
              place=Named, answer=tokens.TokenShown, fails=_MISSING),
    Operation(name="setToken", method="PATCH", path="/tokens/{name}",
              summary="Change what is sent of a token's terms; they hold from the next request on.",
              run=tokens.set_token, place=Named, body=tokens.Terms, answer=tokens.TokenShown, fails=_BOTH),
    Operation(name="rotateToken", method="POST", path="/tokens/{name}/rotate",
              summary="Give a token a new secret, which is shown this once.", run=tokens.rotate_token, place=Named,
              body=tokens.Rotation, answer=tokens.MadeToken, status=_CREATED, fails=_BOTH),
    Operation(name="revokeToken", method="DELETE", path="/tokens/{name}", summary="Refuse a token from now on.",
              run=tokens.revoke_token, place=Named, status=_EMPTY, fails=_MISSING),

    Operation(name="listBudgets", method="GET", path="/budgets",
              summary="List the budgets: what is spent, held and left of each, and when it turns.",
              run=budgets.list_budgets, query=Paging, answer=budgets.Budgets),
    Operation(name="setBudget", method="PUT", path="/budgets",
              summary="Set how much may be spent, from the next request on; what is spent already counts.",
              run=budgets.set_budget, body=budgets.NewBudget, answer=budgets.BudgetShown, fails=_BOTH),
    Operation(name="removeBudget", method="DELETE", path="/budgets",
              summary="Remove the budgets of something, or the one for a kind of span.", run=budgets.remove_budget,
              query=budgets.Former, answer=budgets.Removed, fails=_BOTH),

    Operation(name="listGuards", method="GET", path="/guards",
              summary="List what the guard against runaways bounds for single tokens and accounts.",
              run=guards.list_guards, query=Paging, answer=Page[guards.GuardShown]),
    Operation(name="setGuard", method="PUT", path="/guards",
              summary="Set what a token or an account may use in a minute, and how often a request may repeat.",
              run=guards.set_guard, body=guards.NewGuard, answer=guards.GuardShown, fails=_BOTH),
    Operation(name="removeGuard", method="DELETE", path="/guards",
              summary="Have a token or an account bound by what is configured for all.", run=guards.remove_guard,
              query=guards.Guarded, status=_EMPTY, fails=_BOTH),

    Operation(name="listKeys", method="GET", path="/keys", summary="List the provider keys, masked.",
              run=keys.list_keys, query=Paging, answer=Page[keys.KeyShown]),
    Operation(name="setKey", method="PUT", path="/keys/{account}/{provider}",
              summary="Store a provider key, sealed; `*` is every account that has none of its own.", run=keys.set_key,
              place=keys.KeyPlace, query=keys.KeyName, body=keys.KeyValue, status=_EMPTY, fails=_BOTH),
    Operation(name="removeKey", method="DELETE", path="/keys/{account}/{provider}",
              summary="Forget a stored provider key.", run=keys.remove_key, place=keys.KeyPlace,
              query=keys.FormerKey, status=_EMPTY, fails=_BOTH),
    Operation(name="rotateKey", method="POST", path="/keys/{account}/{provider}/rotate",
              summary="Put a provider key in the place of a stored one, which is kept until a moment.",
              run=keys.rotate_key, place=keys.KeyPlace, query=keys.KeyName, body=keys.NewKey, status=_EMPTY,
              fails=_BOTH),
    Operation(name="bringKeyBack", method="POST", path="/keys/{account}/{provider}/bring-back",
              summary="Use the provider key again that was replaced.", run=keys.bring_key_back, place=keys.KeyPlace,
              query=keys.KeyName, status=_EMPTY, fails=_BOTH),
    Operation(name="rotateMasterKey", method="POST", path="/master-key/rotate",
              summary="Seal everything under a new master key.", run=keys.rotate_master_key, answer=keys.Resealed),

    Operation(name="usage", method="GET", path="/usage/{question}",
              summary="Answer an everyday question about what was metered, as `metrion report` does.",
              run=metered.usage, place=metered.Asked, query=metered.Span, answer=metered.UsageShown, fails=_AGAINST),
    Operation(name="listEvents", method="GET", path="/events", summary="List single requests, the latest first.",
              run=metered.events, query=metered.EventFilters, answer=Page[dict[str, Any]], fails=_AGAINST),
    Operation(name="getEvent", method="GET", path="/events/{event_id}", summary="Show a request with all its columns.",
              run=metered.event, place=metered.EventPlace, answer=metered.EventShown, fails=_MISSING),
    Operation(name="price", method="GET", path="/prices", summary="Look up a model's price on a day.",
              run=metered.price, query=metered.PriceAsked, answer=metered.PriceShown, fails=_MISSING),

    Operation(name="listAlerts", method="GET", path="/alerts", summary="List the rules of alerts.",
              run=rules.list_rules, query=Paging, answer=Page[rules.RuleShown]),
    Operation(name="addAlert", method="POST", path="/alerts", summary="Make a rule.", run=rules.add_rule,
              body=rules.NewRule, answer=rules.RuleShown, status=_CREATED, fails=_AGAINST),
    Operation(name="listAlertHistory", method="GET", path="/alert-history", summary="List what was sent.",
              run=rules.history, query=rules.HistoryAsked, answer=rules.Messages),
    Operation(name="getAlert", method="GET", path="/alerts/{name}", summary="Show a rule.", run=rules.get_rule,
              place=Named, answer=rules.RuleShown, fails=_MISSING),
    Operation(name="setAlert", method="PUT", path="/alerts/{name}", summary="Put new terms in the place of a rule's.",
              run=rules.change_rule, place=Named, body=rules.RuleChange, answer=rules.RuleShown, fails=_BOTH),
    Operation(name="removeAlert", method="DELETE", path="/alerts/{name}", summary="Forget a rule.",
              run=rules.remove_rule, place=Named, status=_EMPTY, fails=_MISSING),
    Operation(name="testAlert", method="POST", path="/alerts/{name}/test",
              summary="Send a test by every channel of a rule.", run=rules.try_rule, place=Named,
              answer=rules.Messages, fails=_MISSING),

    Operation(name="listAdmins", method="GET", path="/admins", summary="List the admin tokens that were ever made.",
              run=admins.list_admins, query=Paging, answer=Page[admins.AdminShown]),
    Operation(name="createAdmin", method="POST", path="/admins",
              summary="Make an admin token; its secret is shown this once.", run=admins.create_admin,
              body=admins.NewAdmin, answer=admins.MadeAdmin, status=_CREATED, fails=_AGAINST),
    Operation(name="revokeAdmin", method="DELETE", path="/admins/{name}", summary="Refuse an admin token from now on.",
              run=admins.revoke_admin, place=Named, status=_EMPTY, fails=_MISSING),
    Operation(name="listAudit", method="GET", path="/audit", summary="List who changed what, the latest first.",
              run=admins.list_audit, query=admins.AuditFilters, answer=Page[admins.EntryShown], fails=_AGAINST),
)  # fmt: skip
