// What `everloom models pull` knows; a test holds that it is what the command has.
export const CATALOGUE = [
  {
    name: 'qwen2.5-coder-0.5b',
    about: 'Qwen2.5-Coder-0.5B-Instruct, Q4_K_M: answers and calls functions better than the model in the box',
    licence: 'Apache-2.0',
  },
  {
    name: 'whisper-base',
    about: 'Whisper base: transcribes 99 languages, and translates them into English',
    licence: 'MIT',
  },
  {
    name: 'whisper-tiny.en',
    about: 'Whisper tiny.en: transcribes English',
    licence: 'MIT',
  },
  {
    name: 'piper-en-us-joe',
    about: 'Piper\'s voice joe: English, one speaker',
    licence: 'MIT',
  },
];
