"""LangChain's ChatOpenAI with a key whose budget is used up. Prints what its user reads."""

import json
import os

from langchain_openai import ChatOpenAI


def main() -> None:
    model = ChatOpenAI(model=os.environ["MODEL"], api_key=os.environ["BUDGET_KEY"], max_tokens=200)
    found = {}
    for name, ask in {"whole": model.invoke, "streamed": lambda words: list(model.stream(words))}.items():
        try:
            ask("Hello")
        except Exception as error:  # noqa: BLE001  # whatever it is, its user reads it
            found[name] = str(error)
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
