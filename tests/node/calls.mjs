// Calls a proxy with the official SDKs: one call per line of JSON on standard input, one line of JSON back for each.
//
// In:  {sdk, baseURL, apiKey, headers, model, stream, maxRetries}; sdk is a key of CALLS, maxRetries null for the SDK's own.
// Out: {text} or {error: {classes, message, status}}; classes from the error's own to Error's.

import readline from 'node:readline';

import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import { Mistral } from '@mistralai/mistralai';
import OpenAI from 'openai';

const SECONDS = 20;
const QUESTION = 'Name a colour.';
const MESSAGES = [{ role: 'user', content: QUESTION }];

async function joined(stream, textOf) {
  let text = '';
  for await (const part of stream) text += textOf(part) ?? '';
  return text;
}

// The options that the SDKs of OpenAI and Anthropic have in common.
function options({ baseURL, apiKey, headers, maxRetries }) {
  return { baseURL, apiKey, defaultHeaders: headers, timeout: SECONDS * 1000, ...(maxRetries !== null && { maxRetries }) };
}

async function openai(call) {
  const { completions } = new OpenAI(options(call)).chat;
  if (!call.stream) {
    const answer = await completions.create({ model: call.model, messages: MESSAGES });
    return answer.choices[0].message.content;
  }
  const usage = { stream_options: { include_usage: true } };
  const chunks = await completions.create({ model: call.model, messages: MESSAGES, stream: true, ...usage });
  return joined(chunks, (chunk) => chunk.choices[0]?.delta.content);
}

async function anthropic(call) {
  const { messages } = new Anthropic(options(call));
  const asked = { model: call.model, max_tokens: 50, messages: MESSAGES };
  if (!call.stream) return (await messages.create(asked)).content.map((block) => block.text).join('');
  return joined(messages.stream(asked), (event) => event.delta?.text);
}

async function mistral(call) {
  const { chat } = new Mistral({ serverURL: call.baseURL, apiKey: call.apiKey, timeoutMs: SECONDS * 1000 });
  const asked = { model: call.model, messages: MESSAGES };
  const sent = { headers: call.headers };
  if (!call.stream) return (await chat.complete(asked, sent)).choices[0].message.content;
  return joined(await chat.stream(asked, sent), (event) => event.data.choices[0]?.delta.content);
}

async function google(call) {
  const httpOptions = { baseUrl: call.baseURL, headers: call.headers, timeout: SECONDS * 1000 };
  const { models } = new GoogleGenAI({ apiKey: call.apiKey, httpOptions });
  const asked = { model: call.model, contents: QUESTION };
  if (!call.stream) return (await models.generateContent(asked)).text;
  return joined(await models.generateContentStream(asked), (chunk) => chunk.text);
}

const CALLS = { openai, anthropic, mistral, google };

function classes(error) {
  const names = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) names.push(kind.name);
  return names;
}

async function outcome(call) {
  try {
    return { text: await CALLS[call.sdk](call) };
  } catch (error) {
    return { error: { classes: classes(error), message: error.message, status: error.status ?? error.statusCode ?? null } };
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await outcome(JSON.parse(line)))}\n`);
}
