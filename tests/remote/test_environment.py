import pytest

from builder.errors import UserError
from builder.remote import environment

EXACTLY = {
    *("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "KAGGLE_API_ENVIRONMENT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HOME", "PATH", "TMPDIR"),
}


def test_exactly_the_named_variables_pass_unchanged():
    caller = {name: f"value of {name}" for name in EXACTLY} | {"KAGGLE_API_ENVIRONMENT": "LOCALHOST"}
    noise = {"VERBOSE": "1", "VERBOSE_OUTPUT": "1", "KAGGLE_PATH": "/x", "KAGGLE_TOKEN": "y", "PYTHONPATH": "/z", "LANG": "C"}
    assert environment.allowed({**caller, **noise}) == caller


def test_empty_values_pass_as_empty_and_missing_ones_stay_missing():
    assert environment.allowed({"NO_PROXY": ""}) == {"NO_PROXY": ""}


@pytest.mark.parametrize("value", ["localhost", "LOCAL", "TEST", "STAGING", "prod"])
def test_a_value_that_would_mean_the_real_kaggle_is_refused(value):
    with pytest.raises(UserError, match=value):
        environment.allowed({"KAGGLE_API_ENVIRONMENT": value})


def test_secrets_are_hidden_the_longest_first():
    hidden = environment.secrets({"KAGGLE_KEY": "abcdef", "KAGGLE_API_TOKEN": "abcdef123", "KAGGLE_USERNAME": "someone"})
    assert environment.scrub("someone sent abcdef123 and abcdef", hidden) == "someone sent *** and ***"


def test_different_servers_have_different_names():
    one = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "HTTP_PROXY": "http://127.0.0.1:1"}
    names = {environment.destination(e) for e in ({}, one, {**one, "HTTP_PROXY": "http://127.0.0.1:2"})}
    assert len(names) == 3
