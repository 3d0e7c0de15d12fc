// Posts a body that it signs: post.js URL SECRET BODY. It prints the status.
'use strict'
const [url, secret, body] = process.argv.slice(2)
const signature = require('crypto').createHmac('sha256', secret).update(body).digest('hex')
fetch(url, { method: 'POST', body, headers: { 'X-Hub-Signature-256': 'sha256=' + signature } }).then(async (res) => {
  console.log(res.status, (await res.text()).trim())
})
