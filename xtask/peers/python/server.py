"""The application whose tracing is compared: answers with a small JSON document."""
from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/items")
def item():
    return jsonify(id=7, name="lamp")
