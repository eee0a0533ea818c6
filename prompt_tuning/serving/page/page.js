"use strict";
// Asks /v1/models, /v1/completions and /v1/classify. Texts become text nodes, never
// HTML: an answer may hold anything.

const find = (id) => document.getElementById(id);
let key = "";
let asked = 0; // answers to an earlier question are dropped

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function call(path, body) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers };
  if (body) options.body = JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const value = await answer.json().catch(() => null);
  if (answer.status === 401) find("key-row").hidden = false;
  if (!answer.ok) throw new Error(value?.error?.message ?? `HTTP ${answer.status}`);
  return value;
}

const percent = (value) => `${(100 * value).toFixed(1)}%`;

function factsOf(prompt) {
  const { length, task, label_words: words } = prompt.prompt;
  const parts = [`${length} vectors`];
  if (task) parts.unshift(task);
  if (words) parts.push(`${words.length} labels`);
  return parts.join(" · ");
}

function bars(labels, probs) {
  const order = probs.map((_, index) => index).sort((a, b) => probs[b] - probs[a]);
  return order.map((index, place) => {
    const row = element("p", place ? "label" : "label best");
    const bar = element("span", "bar");
    bar.style.width = percent(probs[index]);
    row.append(
      bar,
      element("span", "", labels[index]),
      element("span", "value", percent(probs[index])),
    );
    return row;
  });
}

function answerOf(choice) {
  const sum = choice.logprobs.token_logprobs.reduce((a, b) => a + b, 0);
  const answer = element("p", "answer", choice.text || "(nothing)");
  if (!choice.text) answer.classList.add("empty");
  const ended = choice.finish_reason === "length" ? ", cut at its longest" : "";
  return [answer, element("p", "note", `probability ${percent(Math.exp(sum))}${ended}`)];
}

async function fill(card, prompt, text) {
  const completion = { model: prompt.id, prompt: text, logprobs: 0 };
  const requests = [call("v1/completions", completion)];
  if (prompt.prompt.label_words?.length > 1) {
    requests.push(call("v1/classify", { model: prompt.id, input: text }));
  }
  try {
    const [completed, classified] = await Promise.all(requests);
    const parts = answerOf(completed.choices[0]);
    if (classified) {
      const { labels, probs } = classified.data[0];
      parts.push(element("p", "note", "among its labels"), ...bars(labels, probs));
    }
    card.append(...parts);
  } catch (error) {
    card.append(element("p", "wrong", error.message));
  }
}

async function ask(event) {
  event?.preventDefault();
  const chosen = [...document.querySelectorAll("#prompts input:checked")];
  if (!chosen.length) {
    find("status").textContent = "Pick a prompt.";
    return;
  }
  const mine = ++asked;
  const text = find("text").value;
  find("go").disabled = true;
  find("status").textContent = "Answering …";
  const cards = chosen.map(({ prompt }) => {
    const card = element("article");
    card.append(element("h2", "", prompt.id), element("p", "facts", factsOf(prompt)));
    return [card, fill(card, prompt, text)];
  });
  await Promise.all(cards.map(([, filled]) => filled));
  find("go").disabled = false;
  find("status").textContent = "";
  if (mine === asked) find("answers").replaceChildren(...cards.map(([card]) => card));
}

async function list() {
  try {
    const { data } = await call("v1/models");
    find("status").textContent = "";
    find("key-row").hidden = true;
    if (data.length) {
      find("about").textContent =
        `One frozen model, ${data[0].parent}; each prompt answers the same text.`;
    }
    const boxes = data.map((prompt, index) => {
      const row = element("label");
      const box = element("input");
      box.type = "checkbox";
      box.checked = index < 8;
      box.prompt = prompt;
      row.title = factsOf(prompt);
      row.append(box, ` ${prompt.id}`);
      return row;
    });
    const none = [element("span", "hint", "none is loaded")];
    find("prompts").replaceChildren(...(boxes.length ? boxes : none));
  } catch (error) {
    find("status").textContent = error.message;
  }
}

find("ask").addEventListener("submit", ask);
find("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
find("use-key").addEventListener("click", () => {
  key = find("key").value.trim();
  list();
});
list();
